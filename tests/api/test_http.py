"""The JSON door of a real server: what `curl` and `fetch` samples send, the same answers as over gRPC, bad input."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from postil.doors.http.bindings import bindings_of
from postil.v1.annotation_service_pb2 import ListAnnotationsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS
from support.external import ROOT
from support.server import OWN, Server
from support.web import WebServer

MISSPELT = "/v2/annnotations/searches"


class Web:
    """One app over HTTP."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.app = f"http-{uuid.uuid4().hex[:12]}"
        self.ids = {"user_app_id": {"user_id": "me", "app_id": self.app}}
        self.long = f"/v2/users/me/apps/{self.app}"

    def send(self, verb: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        data = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        headers = {"Authorization": "Key YOUR_API_KEY"}
        return requests.request(verb, self.server.http + path, data=data, headers=headers, timeout=30, **options)

    def ok(self, verb: str, path: str, body: Any = None, **options: Any) -> Any:
        answer = self.send(verb, path, body, **options)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"]["code"] == StatusCode.SUCCESS
        return answer.json()


@pytest.fixture
def site(server: Server) -> Web:
    return Web(server)


@pytest.fixture
def labelled(site: Web, photos: dict[str, bytes]) -> Web:
    """Three pictures; the cat is labelled "people", and not "dog", as the samples have it."""
    inputs: list[Any] = [
        {"id": name, "data": {"image": {"base64": base64.b64encode(content).decode()}}}
        for name, content in photos.items()
    ]
    inputs[0]["data"] |= {"concepts": [{"id": "people"}, {"id": "dog", "value": False}]}
    site.ok("POST", f"{site.long}/inputs", {"inputs": inputs})
    return site


def ranks(*data: Any) -> str:
    """A search as the samples write it: indented, by labels or pictures."""
    return json.dumps({"searches": [{"query": {"ranks": [{"annotation": {"data": one}} for one in data]}}]}, indent=2)


def test_an_input_travels_around(site: Web, photos: dict[str, bytes]) -> None:
    image = {"base64": base64.b64encode(photos["cat"]).decode()}
    item = {
        "id": "cat 1/é".replace("/", "-"),
        "data": {"image": image, "concepts": [{"id": "animal"}], "metadata": {"a": {}}},
    }
    (stored,) = site.ok("POST", f"{site.long}/inputs", {"inputs": [item]})["inputs"]
    assert stored["status"]["code"] == StatusCode.INPUT_SUCCESS
    assert stored["data"]["concepts"][0]["value"] == 1
    assert stored["data"]["metadata"] == {"a": {}}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", stored["created_at"])
    got = site.ok("GET", f"{site.long}/inputs/cat%201-%C3%A9")["input"]
    assert got == stored
    assert requests.get(got["data"]["image"]["url"], timeout=30).content == photos["cat"]
    hosted = got["data"]["image"]["hosted"]
    assert hosted["sizes"] == ["orig", "tiny", "small", "large"]
    for size in hosted["sizes"]:
        for url in (f"{hosted['prefix']}{size}/{hosted['suffix']}", f"{hosted['prefix']}/{size}/{hosted['suffix']}"):
            assert requests.get(url, timeout=30).headers["content-type"].startswith("image/")
    counts = site.ok("GET", f"/v2/inputs/status?user_app_id.app_id={site.app}")["counts"]
    assert (counts["processed"], counts["to_process"], counts["errors"]) == (1, 0, 0)
    site.ok("DELETE", f"{site.long}/inputs/cat%201-%C3%A9", "{}")
    gone = site.send("GET", f"{site.long}/inputs/cat%201-%C3%A9")
    assert (gone.status_code, gone.json()["status"]["code"]) == (404, StatusCode.CONN_DOES_NOT_EXIST)


def test_mixed_success_is_207(site: Web) -> None:
    inputs = [{"id": "a", "data": {"text": {"raw": "words"}}}, {"id": "b", "data": {}}]
    answer = site.send("POST", f"{site.long}/inputs", {"inputs": inputs})
    assert answer.status_code == 207
    codes = [item["status"]["code"] for item in answer.json()["inputs"]]
    assert codes == [StatusCode.INPUT_SUCCESS, StatusCode.INPUT_INVALID_ARGUMENT]
    assert site.send("POST", f"{site.long}/inputs", {"inputs": inputs[1:]}).status_code == 400


@pytest.mark.parametrize("path", [MISSPELT, "/v2/annotations/searches"])
@pytest.mark.parametrize(
    ("data", "first"),
    [
        ([{"concepts": [{"id": "people", "value": 1}]}], "cat"),
        ([{"concepts": [{"id": "people"}]}, {"concepts": [{"id": "dog", "value": 0}]}], "cat"),
    ],
)
def test_the_rank_samples_by_label(labelled: Web, path: str, data: list[Any], first: str) -> None:
    body = json.loads(ranks(*data)) | labelled.ids
    hits = labelled.ok("POST", path, body)["hits"]
    assert hits[0]["input"]["id"] == first
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_the_rank_samples_by_picture(labelled: Web, web: WebServer, photos: dict[str, bytes], tmp_path: Path) -> None:
    by_url = json.loads(ranks({"image": {"url": web.serve("cat.png", photos["cat"])}})) | labelled.ids
    assert labelled.ok("POST", MISSPELT, by_url)["hits"][0]["input"]["id"] == "cat"
    picture = tmp_path / "image.png"
    picture.write_bytes(photos["rocket"])
    wrapped = subprocess.run(["base64", picture], check=True, capture_output=True, text=True).stdout
    assert "\n" in wrapped.strip(), "the sample's command breaks lines"
    body = ranks({"image": {"base64": "@"}}).replace("@", wrapped)
    path = f"{labelled.long}/annnotations/searches"
    assert labelled.ok("POST", path, body)["hits"][0]["input"]["id"] == "rocket"


@pytest.mark.parametrize("comma", ["", ","])
def test_a_comma_too_many(labelled: Web, comma: str) -> None:
    body = f'{{"searches": [{{"query": {{"ranks": [{{"annotation": {{"input_id": "cat"}}}}{comma}]}}}}]{comma}\n}}'
    assert labelled.ok("POST", f"{labelled.long}/annotations/searches", body)["hits"][0]["score"] == 1


def test_both_doors_say_the_same(labelled: Web) -> None:
    listed = labelled.ok("GET", f"{labelled.long}/annotations?list_all_annotations=True")["annotations"]
    request = ListAnnotationsRequest(list_all_annotations=True)
    request.user_app_id.app_id = labelled.app
    reply = labelled.server.call(OWN, "ListAnnotations", request)
    assert [one["id"] for one in listed] == [one.id for one in reply.annotations]
    assert [[(c["id"], np.float32(c["value"])) for c in one["data"].get("concepts", [])] for one in listed] == [
        [(c.id, c.value) for c in one.data.concepts] for one in reply.annotations
    ]


def test_annotations_by_path_and_query(labelled: Web) -> None:
    box = {"top_row": 0.1, "left_col": 0, "bottom_row": 0.5, "right_col": 0.5}
    region = {"region_info": {"bounding_box": box}, "data": {"concepts": [{"id": "ear"}]}}
    body = {"annotations": [{"input_id": "cat", "data": {"regions": [region]}}]}
    (made,) = labelled.ok("POST", f"{labelled.long}/annotations", body)["annotations"]
    assert made["data"]["regions"][0]["region_info"]["bounding_box"] == box
    path = f"{labelled.long}/inputs/cat/annotations/{made['id']}"
    assert labelled.ok("GET", path)["annotation"]["id"] == made["id"]
    patch = {"action": "merge", "annotations": [{"input_id": "cat", "id": made["id"], "annotation_info": {"by": "me"}}]}
    labelled.ok("PATCH", f"{labelled.long}/annotations", patch)
    listed = labelled.ok("GET", f"{labelled.long}/annotations?input_ids=cat&ids={made['id']}")["annotations"]
    assert [one["annotation_info"] for one in listed] == [{"by": "me"}]
    labelled.ok("DELETE", path)
    assert labelled.send("GET", path).status_code == 404


@pytest.mark.parametrize("value", ["false", "0", "0.0"])
def test_a_label_may_be_absent(site: Web, value: str) -> None:
    label = f'{{"id": "c", "value": {value}}}'
    body = f'{{"inputs": [{{"id": "a", "data": {{"text": {{"raw": "x"}}, "concepts": [{label}]}}}}]}}'
    site.ok("POST", f"{site.long}/inputs", body)
    assert site.ok("GET", f"{site.long}/inputs/a")["input"]["data"]["concepts"][0]["value"] == 0


def test_a_large_body_that_is_no_json_leaves_the_server_up_and_small(labelled: Web) -> None:
    site = labelled  # its pictures have loaded one model, and this loads the other: neither is the body's doing
    site.ok("POST", f"{site.long}/inputs", {"inputs": [{"id": "words", "data": {"text": {"raw": "some words"}}}]})
    before = _resident(site.server.process.pid)
    for body in (b"x" * 100_000_000, b'{"a":' * 20_000_000, b'{"inputs":[' + b"{}," * 30_000_000 + b"{}]}"):
        answer = site.send("POST", f"{site.long}/inputs", body)
        assert answer.status_code in {400, 413}
        assert answer.json()["status"]["code"] in {
            StatusCode.CONN_BAD_REQUEST_FORMAT,
            StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED,
        }
    site.ok("GET", "/v2/status_codes")
    assert _resident(site.server.process.pid) - before < 100 << 20


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    return requests.get(f"{server.http}/openapi.json", timeout=30).json()


def test_the_description_is_what_the_protos_say() -> None:
    done = subprocess.run(
        [sys.executable, "tools/openapi.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"run `make protos`: {done.stdout}{done.stderr}"


def test_the_description_lists_what_is_built_and_nothing_else(server: Server, document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    for method in METHODS.values():
        for binding in bindings_of(method):
            path = re.sub(r"\{[^}]*\}", "no-such-thing", binding.path)
            answer = requests.request(binding.verb, server.http + path, data="{}" if binding.body else None, timeout=30)
            spelled = re.sub(r"\{[a-z_]+\.", "{", binding.path)  # names without dots
            listed = binding.verb.lower() in document["paths"].get(spelled, {})
            assert listed == (answer.status_code != 501), f"{binding.verb} {binding.path}: {answer.text}"


def test_the_description_is_whole(document: Any) -> None:
    schemas = document["components"]["schemas"]
    operations = [call for verbs in document["paths"].values() for call in verbs.values()]
    names = [call["operationId"] for call in operations]
    assert len(names) == len(set(names))
    assert all(call["description"] and call["summary"] for call in operations)
    assert set(re.findall(r"#/components/schemas/([\w.]+)", json.dumps(document))) == set(schemas)
    for path, verbs in document["paths"].items():
        for call in verbs.values():
            given = {one["name"] for one in call["parameters"] if one["in"] == "path"}
            assert given == set(re.findall(r"\{([^}]*)\}", path))
    assert schemas["Concept"]["properties"]["value"]["default"] == 1


@pytest.fixture
def pages(server: Server) -> Iterator[Any]:
    with requests.Session() as session:
        yield lambda path, **headers: session.get(server.http + path, headers=headers, timeout=30)


def test_the_page_needs_nothing_from_elsewhere(pages: Any) -> None:
    page = pages("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    used = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(used) == ["docs/docs.css", "docs/docs.js", "openapi.json"]
    for name in used:
        asset = pages(f"/{name}")
        assert asset.status_code == 200
        if name != "openapi.json":
            assert "//" not in re.sub(r"(?m)^//.*", "", asset.text)
    again = pages("/docs", **{"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
