"""The HTTP door: health, readiness, metrics, hosted media and their headers, errors as JSON."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from postil.config import Address, CannotListen
from postil.doors.http import media, routes
from postil.doors.http.server import HttpDoor
from postil.media.pictures import PictureReader
from postil.media.thumbnails import SIZES, Thumbnails
from postil.metrics import Metrics
from postil.v1.status_code_pb2 import StatusCode
from support.photos import photo

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
SCRIPT = b"<html><script>alert(1)</script></html>"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Site:
    """The door around a folder of blobs."""

    def __init__(self, folder: Path) -> None:
        self.ready = False
        self.folder = folder
        self.metrics = Metrics()
        thumbnails = Thumbnails(folder / "thumbnails", PictureReader())
        self.door = HttpDoor(routes.build(lambda: self.ready, self.metrics, self.blob, thumbnails.path))
        self.port = self.door.listen(Address("127.0.0.1", 0))

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / digest).write_bytes(content)
        return digest

    def blob(self, digest: str) -> Path | None:
        path = self.folder / digest
        return path if path.is_file() else None

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=named)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, _lower(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    running = Site(tmp_path)
    yield running
    running.door.stop()


def test_alive_and_ready(site: Site) -> None:
    assert site.get("/healthz").status == 200
    assert site.get("/readyz").status == 503
    site.ready = True
    answer = site.get("/readyz")
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ready"})


def test_metrics(site: Site) -> None:
    site.metrics.calls.labels("PostInputs", "10000").inc()
    site.metrics.watch("postil_test_gauge", "A gauge.", lambda: 7)
    answer = site.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b'postil_calls_total{code="10000",rpc="PostInputs"} 1.0' in answer.body
    assert b"postil_test_gauge 7.0" in answer.body


@pytest.mark.parametrize("suffix", ["", ".png", ".jpeg"])
def test_hosted_media(site: Site, suffix: str) -> None:
    digest = site.put(PNG)
    answer = site.get(f"/blobs/{digest}{suffix}")
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{digest}"'
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_head_tells_the_size(site: Site) -> None:
    answer = site.get(f"/blobs/{site.put(PNG)}", "HEAD")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, str(len(PNG)), b"")


def test_a_known_tag_is_not_sent_again(site: Site) -> None:
    digest = site.put(PNG)
    answer = site.get(f"/blobs/{digest}", If_None_Match=f'W/"other", "{digest}"')
    assert (answer.status, answer.body) == (304, b"")
    assert site.get(f"/blobs/{digest}", If_None_Match='"other"').status == 200


def test_ranges(site: Site) -> None:
    answer = site.get(f"/blobs/{site.put(PNG)}", Range="bytes=8-11")
    assert (answer.status, answer.body) == (206, PNG[8:12])
    assert answer.headers["content-range"] == f"bytes 8-11/{len(PNG)}"


def test_what_could_run_is_served_as_octets(site: Site) -> None:
    answer = site.get(f"/blobs/{site.put(SCRIPT)}.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/blobs/" + "0" * 64,
        "/blobs/" + "A" * 64,
        "/blobs/abc",
        "/blobs/..%2f..%2fetc%2fpasswd",
        "/blobs/%00",
        "/blobs/",
        "/nowhere",
        "/v2/inputs",
    ],
)
def test_what_is_not_there_is_a_json_404(site: Site, path: str) -> None:
    (site.folder / ("A" * 64)).write_bytes(b"not lower case")
    answer = site.get(path)
    assert answer.status == 404
    assert json.loads(answer.body)["status"]["code"] == StatusCode.CONN_DOES_NOT_EXIST


def test_a_wrong_method_is_a_json_405(site: Site) -> None:
    answer = site.get("/healthz", "POST")
    assert answer.status == 405
    assert json.loads(answer.body)["status"]["code"] == StatusCode.CONN_METHOD_NOT_ALLOWED


def test_a_fault_is_a_json_500_without_internals(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> bytes:
        raise RuntimeError("secret")

    monkeypatch.setattr(site.metrics, "render", fail)
    answer = site.get("/metrics")
    assert answer.status == 500
    assert json.loads(answer.body)["status"]["code"] == StatusCode.INTERNAL_SERVER_ISSUE
    assert b"secret" not in answer.body


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListen, match=str(address)):
            HttpDoor(routes.build(lambda: True, Metrics(), lambda _: None, lambda _, __, path: path)).listen(address)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00ABCD", "application/octet-stream"),
        (b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
        (b"\x00\x00\x00\x18ftypavif", "image/avif"),
        (b"<svg xmlns=", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_types_are_told_from_the_first_bytes(head: bytes, kind: str) -> None:
    assert media.content_type(head) == kind


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("form", ["/blobs/{size}/{digest}", "/blobs//{size}/{digest}", "/blobs/{digest}?size={size}"])
def test_smaller_pictures(site: Site, size: str, form: str) -> None:
    picture = photo("coffee.png")  # 600 × 400
    digest = site.put(picture)
    answer = site.get(form.format(size=size, digest=digest))
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["etag"] == f'"{digest}-{size}"'
    made = Image.open(io.BytesIO(answer.body))
    assert made.width == min(SIZES[size], 600)
    assert made.width / made.height == pytest.approx(1.5, abs=0.02)
    assert site.get(f"/blobs/{size}/{digest}", If_None_Match=answer.headers["etag"]).status == 304
    part = site.get(f"/blobs/{size}/{digest}", Range="bytes=0-2")
    assert (part.status, part.body) == (206, answer.body[:3])


def test_the_original_size(site: Site) -> None:
    digest = site.put(PNG)
    for path in (f"/blobs/orig/{digest}", f"/blobs//orig/{digest}", f"/blobs/{digest}?size=orig"):
        assert site.get(path).body == PNG


@pytest.mark.parametrize("path", ["/blobs/huge/{}", "/blobs/{}?size=huge", "/blobs/small/{}", "/blobs/../small/{}"])
def test_sizes_that_cannot_be(site: Site, path: str) -> None:
    assert site.get(path.format(site.put(SCRIPT))).status == 404


def test_a_thumbnail_goes_with_its_original(site: Site) -> None:
    digest = site.put(photo("coffee.png"))
    assert site.get(f"/blobs/small/{digest}").status == 200
    (site.folder / digest).unlink()
    assert site.get(f"/blobs/small/{digest}").status == 404


@pytest.mark.parametrize("spec", ["bytes=500-", "bytes=9-4", "bytes=x-y"])
def test_ranges_that_cannot_be(site: Site, spec: str) -> None:
    assert site.get(f"/blobs/{site.put(PNG)}", Range=spec).status in {400, 416}


def test_a_stale_range_gets_the_whole(site: Site) -> None:
    answer = site.get(f"/blobs/{site.put(PNG)}", Range="bytes=8-11", If_Range='"other"')
    assert (answer.status, answer.body) == (200, PNG)


@pytest.mark.parametrize("flood", [b"GET / HTTP/1.1\r\nx: ", b"GET /", b"GET / HTTP/1.1\r\n"])
def test_endless_headers_are_cut_off(site: Site, flood: bytes) -> None:
    more = b"a" * 1000 if b"\r\n" not in flood or flood.endswith(b" ") else b"y: " + b"a" * 1000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(flood)
        with pytest.raises(OSError, match=r"reset|Broken pipe|abort"):  # noqa: PT012 - whichever write notices
            for _ in range(100_000):
                connection.sendall(more)
