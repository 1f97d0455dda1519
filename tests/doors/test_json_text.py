"""The text of JSON: as people write it, none at all, too deep, too much."""

from __future__ import annotations

from typing import Any

import pytest

from postil.doors.http import json_text
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"", {}),
        (b" \n ", {}),
        (b"{}", {}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": [1, 2, ], "b": "x, ]",\n}', {"a": [1, 2], "b": "x, ]"}),
        (b'{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        (b'{"a": "line\nbreak\\",}",}', {"a": 'line\nbreak",}'}),
    ],
)
def test_json_as_people_write_it(body: bytes, value: Any) -> None:
    assert json_text.parse(body) == value


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"1", b"null", b"{'a': 1}", b'{"a": 1,,}', b"\xff{}", b"{}{}", b"<xml/>", b'{"a":}']
)
def test_json_that_is_none(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        json_text.parse(body)
    assert caught.value.code == StatusCode.CONN_BAD_REQUEST_FORMAT


@pytest.mark.parametrize("body", [b'{"a":' * 100_000, b"[" * 1_000_000, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"])
def test_json_that_is_deep(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        json_text.parse(body)
    assert caught.value.code == StatusCode.CONN_BAD_REQUEST_FORMAT


def test_json_with_too_many_values() -> None:
    with pytest.raises(Failure) as caught:
        json_text.parse(b'{"a":[' + b"{}," * 3_000_000 + b"{}]}")
    assert caught.value.code == StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED
