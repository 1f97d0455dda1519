"""The Python client against a server made of canned answers: chunks, paging, retries, errors, credentials."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from postil.v1 import (
    annotation_pb2,
    annotation_service_pb2,
    annotation_service_pb2_grpc,
    concept_pb2,
    concept_service_pb2,
    concept_service_pb2_grpc,
    input_pb2,
    input_service_pb2,
    input_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status
from postil_client import Client, PostilError, build
from postil_client.batches import MAX_BYTES, chunks

OK = Status(code=StatusCode.SUCCESS, description="Ok", req_id="r1")


@dataclasses.dataclass
class Canned:
    """A server that answers each RPC with a function of its request, and remembers what it was asked."""

    target: str
    answers: dict[str, Callable[[Any, grpc.ServicerContext], Any]]
    calls: list[tuple[str, Any, dict[str, str]]]

    def requests(self, rpc: str) -> list[Any]:
        return [request for name, request, _ in self.calls if name == rpc]


def _servicer(base: type, canned: Canned) -> Any:
    def method(name: str) -> Callable[..., Any]:
        def answer(self: object, request: Any, context: grpc.ServicerContext) -> Any:
            metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
            canned.calls.append((name, request, metadata))
            return canned.answers[name](request, context)

        return answer

    return type("Servicer", (base,), {name: method(name) for name in vars(base) if name[0].isupper()})()


@pytest.fixture
def canned() -> Iterator[Canned]:
    canned = Canned("", {}, [])
    server = grpc.server(futures.ThreadPoolExecutor(2), maximum_concurrent_rpcs=8)
    for module, noun in (
        (input_service_pb2_grpc, "Inputs"),
        (annotation_service_pb2_grpc, "Annotations"),
        (concept_service_pb2_grpc, "Concepts"),
        (search_service_pb2_grpc, "Searches"),
    ):
        servicer = _servicer(getattr(module, f"{noun}Servicer"), canned)
        getattr(module, f"add_{noun}Servicer_to_server")(servicer, server)
    canned.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield canned
    server.stop(None).wait()


@pytest.fixture
def client(canned: Canned) -> Iterator[Client]:
    with Client(canned.target, key="secret", user_id="ann", app_id="birds", timeout=20) as client:
        yield client


def keep_inputs(request: Any, _: object) -> input_service_pb2.MultiInputResponse:
    kept = [input_pb2.Input(id=one.id, status=Status(code=StatusCode.INPUT_SUCCESS)) for one in request.inputs]
    return input_service_pb2.MultiInputResponse(status=OK, inputs=kept)


def test_sends_key_and_app(canned: Canned, client: Client) -> None:
    canned.answers["PostInputs"] = keep_inputs
    client.add_texts(["hello"])
    (_, request, metadata) = canned.calls[0]
    assert metadata["authorization"] == "Key secret"
    assert (request.user_app_id.user_id, request.user_app_id.app_id) == ("ann", "birds")


def test_sends_nothing_it_was_not_given(canned: Canned) -> None:
    canned.answers["PostInputs"] = keep_inputs
    with Client(canned.target) as client:
        client.add_texts(["hello"])
    (_, request, metadata) = canned.calls[0]
    assert "authorization" not in metadata
    assert not request.user_app_id.ByteSize()


def test_posts_in_chunks_of_128_and_keeps_order(canned: Canned, client: Client) -> None:
    canned.answers["PostInputs"] = keep_inputs
    names = [f"v{i}" for i in range(300)]
    kept = client.add_vectors({name: [1.0, 2.0] for name in names}, space="mine", concepts=["a"])
    assert [one.id for one in kept] == names
    sizes = [len(request.inputs) for request in canned.requests("PostInputs")]
    assert sizes == [128, 128, 44]
    first = canned.requests("PostInputs")[0].inputs[0]
    assert list(first.data.embeddings[0].vector) == [1.0, 2.0]
    assert first.data.embeddings[0].space == "mine"
    assert [(c.id, c.value) for c in first.data.concepts] == [("a", 1.0)]


def test_chunks_keep_within_bytes() -> None:
    weights = [MAX_BYTES // 2, MAX_BYTES // 2, 1, MAX_BYTES * 2, 1]
    assert list(chunks(weights, lambda w: w)) == [weights[:2], [1], [MAX_BYTES * 2], [1]]
    assert list(chunks([])) == []


def test_gives_ids_so_that_a_retry_cannot_add_twice(canned: Canned, client: Client) -> None:
    canned.answers["PostInputs"] = keep_inputs
    client.add_texts(["one", "two"])
    ids = {one.id for one in canned.requests("PostInputs")[0].inputs}
    assert len(ids) == 2
    assert all(len(name) == 32 for name in ids)


def test_mixed_sends_all_chunks_then_tells_of_all(canned: Canned, client: Client) -> None:
    def refuse_odd(request: Any, _: object) -> input_service_pb2.MultiInputResponse:
        answer = keep_inputs(request, _)
        for one in answer.inputs:
            if one.id == "t1":
                one.status.CopyFrom(Status(code=StatusCode.INPUT_DUPLICATE, details="Input has a duplicate ID."))
                answer.status.CopyFrom(Status(code=StatusCode.MIXED_STATUS, description="Mixed Success", req_id="r2"))
        return answer

    canned.answers["PostInputs"] = refuse_odd
    with pytest.raises(PostilError) as caught:
        client.add_texts({f"t{i}": "x" for i in range(130)})
    error = caught.value
    assert (error.code, error.req_id) == (StatusCode.MIXED_STATUS, "r2")
    assert [one.id for one in error.items] == [f"t{i}" for i in range(130)]
    assert [one.id for one in error.failed] == ["t1"]
    assert len(error.succeeded) == 129
    assert "Input has a duplicate ID." in str(error)
    assert len(canned.requests("PostInputs")) == 2


def test_a_call_refused_as_a_whole_stops_there(canned: Canned, client: Client) -> None:
    def refuse(request: Any, _: object) -> input_service_pb2.MultiInputResponse:
        status = Status(code=StatusCode.CONN_KEY_INVALID, description="Invalid API key", details="No such key.")
        return input_service_pb2.MultiInputResponse(status=status)

    canned.answers["PostInputs"] = refuse
    with pytest.raises(PostilError, match=r"11008 Invalid API key: No such key\.") as caught:
        client.add_texts(["x"] * 300)
    assert caught.value.items == []
    assert len(canned.calls) == 1


def test_retries_while_the_server_is_away(canned: Canned, client: Client) -> None:
    def flaky(request: Any, context: grpc.ServicerContext) -> input_service_pb2.SingleInputResponse:
        if len(canned.calls) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        return input_service_pb2.SingleInputResponse(status=OK, input=input_pb2.Input(id=request.input_id))

    canned.answers["GetInput"] = flaky
    assert client.get("i1").id == "i1"
    assert len(canned.calls) == 3


def test_does_not_retry_what_failed(canned: Canned, client: Client) -> None:
    def full(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large")

    canned.answers["GetInput"] = full
    with pytest.raises(grpc.RpcError):
        client.get("i1")
    assert len(canned.calls) == 1


def test_times_out(canned: Canned) -> None:
    released = []

    def slow(request: Any, context: grpc.ServicerContext) -> input_service_pb2.SingleInputResponse:
        while context.is_active():
            released.append(1)
            context_wait.result(timeout=5)
        return input_service_pb2.SingleInputResponse(status=OK)

    context_wait: futures.Future[None] = futures.Future()
    canned.answers["GetInput"] = slow
    with Client(canned.target, timeout=0.3) as client, pytest.raises(grpc.RpcError) as caught:
        client.get("i1")
    context_wait.set_result(None)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_walks_all_inputs_by_last_id(canned: Canned, client: Client) -> None:
    stored = [f"i{n}" for n in range(7)]

    def stream(request: Any, _: object) -> input_service_pb2.MultiInputResponse:
        start = stored.index(request.last_id) + 1 if request.last_id else 0
        page = [input_pb2.Input(id=name) for name in stored[start : start + request.per_page]]
        return input_service_pb2.MultiInputResponse(status=OK, inputs=page)

    canned.answers["StreamInputs"] = stream
    assert [one.id for one in client.inputs(page_size=3)] == stored
    assert len(canned.calls) == 4


def test_walks_annotations_and_concepts_until_an_empty_page(canned: Canned, client: Client) -> None:
    def cut(values: list[Any], request: Any) -> list[Any]:
        return values[(request.page - 1) * request.per_page : request.page * request.per_page]

    annotations = [annotation_pb2.Annotation(id=f"a{n}") for n in range(5)]
    concepts = [concept_pb2.Concept(id=f"c{n}") for n in range(4)]
    canned.answers["ListAnnotations"] = lambda request, _: annotation_service_pb2.MultiAnnotationResponse(
        status=OK, annotations=cut(annotations, request)
    )
    canned.answers["ListConcepts"] = lambda request, _: concept_service_pb2.MultiConceptResponse(
        status=OK, concepts=cut(concepts, request)
    )
    assert [one.id for one in client.annotations("i1", untrusted=True, page_size=2)] == ["a0", "a1", "a2", "a3", "a4"]
    asked = canned.requests("ListAnnotations")[0]
    assert (list(asked.input_ids), asked.list_all_annotations) == (["i1"], True)
    assert [one.id for one in client.concepts(page_size=4)] == ["c0", "c1", "c2", "c3"]


def test_labels_a_region(canned: Canned, client: Client) -> None:
    canned.answers["PostAnnotations"] = lambda request, _: annotation_service_pb2.MultiAnnotationResponse(
        status=OK, annotations=request.annotations
    )
    kept = client.label("i1", "tree", absent=["water"], region=build.box(0.1, 0.2, 0.3, 0.4))
    region = kept.data.regions[0]
    assert region.region_info.bounding_box.left_col == pytest.approx(0.2)
    assert [(c.id, c.value) for c in region.data.concepts] == [("tree", 1.0), ("water", 0.0)]
    assert not kept.data.concepts


def test_a_frame_holds_the_region() -> None:
    made = build.make_annotation("v1", ["bird"], region=build.point(0.5, 0.25), frame_ms=1500)
    frame = made.data.frames[0]
    assert frame.frame_info.time == 1500
    assert frame.data.regions[0].data.concepts[0].id == "bird"
    assert not made.data.regions


def test_deletes_in_chunks(canned: Canned, client: Client) -> None:
    canned.answers["DeleteInputs"] = canned.answers["DeleteAnnotations"] = lambda *_: BaseResponse(status=OK)
    client.delete(f"i{n}" for n in range(130))
    client.delete_annotations([annotation_pb2.Annotation(id="a", input_id="i")])
    assert [len(request.ids) for request in canned.requests("DeleteInputs")] == [128, 2]
    sent = canned.requests("DeleteAnnotations")[0]
    assert (list(sent.ids), list(sent.input_ids)) == (["a"], ["i"])


def search_answer(request: Any, _: object) -> search_service_pb2.MultiSearchResponse:
    return search_service_pb2.MultiSearchResponse(status=OK, id="s1", searches=request.searches)


@pytest.mark.parametrize(
    ("search", "field"),
    [
        (lambda c: c.search_by_picture("http://x.test/a.jpg"), "image"),
        (lambda c: c.search_by_bytes(b"\xff\xd8"), "image"),
        (lambda c: c.search_by_text("espresso"), "text"),
        (lambda c: c.search_by_vector([0.0, 1.0], space="mine"), "embeddings"),
        (lambda c: c.search_by_concept("people", "tree"), "concepts"),
    ],
)
def test_searches_rank_by_what_was_given(
    canned: Canned, client: Client, search: Callable[[Client], search_service_pb2.MultiSearchResponse], field: str
) -> None:
    canned.answers["PostAnnotationsSearches"] = search_answer
    answer = search(client)
    assert answer.id == "s1"
    (rank,) = answer.searches[0].query.ranks
    assert [descriptor.name for descriptor, _ in rank.annotation.data.ListFields()] == [field]


def test_search_options_reach_the_wire(canned: Canned, client: Client) -> None:
    canned.answers["PostInputsSearches"] = search_answer
    client.search_by_input(
        "i1",
        unit="inputs",
        top=5,
        page=2,
        min_value=0.5,
        filters=[build.labelled("tree"), build.with_metadata({"a": 1})],
    )
    (request,) = canned.requests("PostInputsSearches")
    (search,) = request.searches
    assert (request.pagination.page, request.pagination.per_page, search.min_value) == (2, 5, 0.5)
    assert search.query.ranks[0].annotation.input_id == "i1"
    assert search.query.filters[0].annotation.data.concepts[0].id == "tree"
    assert search.query.filters[1].annotation.data.metadata["a"] == 1


PENDING, IN_PROGRESS, DONE = StatusCode.INPUT_PENDING, StatusCode.INPUT_IN_PROGRESS, StatusCode.INPUT_SUCCESS


def listed(
    codes: dict[str, list[StatusCode.ValueType]],
) -> Callable[[Any, object], input_service_pb2.MultiInputResponse]:
    """Each input goes through its codes, one a call, and stays at the last."""

    def answer(request: Any, _: object) -> input_service_pb2.MultiInputResponse:
        found = []
        for name in request.ids:
            if name in codes:
                code = codes[name].pop(0) if len(codes[name]) > 1 else codes[name][0]
                found.append(input_pb2.Input(id=name, status=Status(code=code)))
        return input_service_pb2.MultiInputResponse(status=OK, inputs=found)

    return answer


def test_waits_until_processed(canned: Canned, client: Client) -> None:
    canned.answers["ListInputs"] = listed({"a": [PENDING, IN_PROGRESS, DONE], "b": [DONE]})
    done = client.wait_until_processed(["a", "b"], interval=0.01)
    assert [one.id for one in done] == ["a", "b"]
    assert len(canned.calls) == 3


def test_waiting_tells_what_failed_and_what_is_missing(canned: Canned, client: Client) -> None:
    canned.answers["ListInputs"] = listed({"a": [StatusCode.INPUT_FAILED], "b": [DONE]})
    with pytest.raises(PostilError) as caught:
        client.wait_until_processed(["a", "b"])
    assert [one.id for one in caught.value.failed] == ["a"]
    with pytest.raises(PostilError, match="'gone'") as caught:
        client.wait_until_processed(["b", "gone"])
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST


def test_waiting_ends(canned: Canned, client: Client) -> None:
    canned.answers["ListInputs"] = listed({"a": [PENDING]})
    with pytest.raises(TimeoutError, match="'a'"):
        client.wait_until_processed(["a"], timeout=0.05, interval=0.01)


def test_imports_nothing_of_the_server() -> None:
    """The client installs without the extra `server`, so it must not reach for what that brings."""
    program = (
        "import sys, postil_client, postil_client.build\n"
        "heavy = {'numpy', 'hnswlib', 'onnxruntime', 'PIL', 'sqlite3', 'sqlite_utils', 'structlog', 'starlette'}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(m for m in sys.modules if m.startswith('postil.') and"
        " not m.startswith('postil.v1')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
