"""Descriptions, HTTP statuses and the summary rule of `core/statuses.py`."""

from __future__ import annotations

import pytest

from postil import errors
from postil.core import statuses
from postil.v1.status_code_pb2 import StatusCode

SAID = {
    10000: "Ok",
    10010: "Mixed Success",
    10020: "Failure",
    11008: "Invalid API key or Invalid API key/application pair",
    11009: "API key not found",
    11101: "Resource does not exist",
    21100: "Model trained successfully",
    21102: "Model not yet trained",
    21103: "Custom model is currently in queue for training, waiting on inputs to process.",
    30000: "Download complete",
    30001: "Download pending",
    40003: "Invalid request",
    # by rule
    21200: "Model does not exist",
    24155: "Invalid annotation argument",
    47102: "MP resolve DNS error",
    64203: "Dataset version export in progress",
}


@pytest.mark.parametrize(("code", "text"), SAID.items())
def test_description(code: StatusCode.ValueType, text: str) -> None:
    assert statuses.description(code) == text


def test_every_code_is_described() -> None:
    assert set(statuses.TABLE) == set(StatusCode.values())
    for code, (text, number) in statuses.TABLE.items():
        assert text[0].isupper(), code
        assert "_" not in text, code
        assert 200 <= number < 600, code


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (10000, 200), (10010, 207), (10020, 400), (10040, 501), (11005, 429), (11008, 401), (11009, 401), (11002, 401),
        (11007, 403), (24156, 403), (11101, 404), (30102, 404), (21200, 404), (11100, 400), (11102, 400), (11103, 405),
        (24155, 400), (30000, 200), (30001, 200), (30002, 400), (30100, 400), (40002, 400), (43001, 500), (98004, 500),
        (99009, 500), (24150, 200), (24157, 200), (21101, 200), (99004, 500), (40016, 500), (40010, 400),
    ],
)  # fmt: skip
def test_http_status(code: StatusCode.ValueType, number: int) -> None:
    assert statuses.http_status(code) == number


def test_unknown_code_is_an_error() -> None:
    assert statuses.http_status(12345) == 500  # type: ignore[arg-type]


def test_status_carries_everything() -> None:
    got = statuses.of_failure(errors.Failure(StatusCode.INPUT_DUPLICATE, "Input has a duplicate ID.", "id 'a'"))
    assert (got.code, got.description, got.details) == (30100, "Duplicate input", "Input has a duplicate ID.")
    assert (got.developer_notes, got.http_status_code) == ("id 'a'", 400)


def test_summary() -> None:
    fine = statuses.status(StatusCode.INPUT_PENDING)
    bad = statuses.status(StatusCode.INPUT_DUPLICATE, "Input has a duplicate ID.")
    assert statuses.summary([]).code == StatusCode.SUCCESS
    assert statuses.summary([fine, fine]).code == StatusCode.SUCCESS
    mixed = statuses.summary([fine, bad])
    assert mixed.code == StatusCode.MIXED_STATUS
    assert mixed.details == "1 of 2 failed. The first is item 1 (30100): Input has a duplicate ID."
    assert statuses.summary([bad, bad]).code == StatusCode.FAILURE
