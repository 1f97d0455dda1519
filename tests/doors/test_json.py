"""JSON of messages: what protobuf's own mapping reads and writes, and where ours differs on purpose."""

from __future__ import annotations

import gc
import json
import math
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.doors.http import json_text
from postil.doors.http.json_in import MAX_DEPTH, Reader
from postil.doors.http.json_out import Printer
from postil.doors.http.json_stored import StoredPrinter
from postil.doors.rpc import methods
from postil.errors import Failure
from postil.v1.annotation_pb2 import Annotation
from postil.v1.app_pb2 import AppResourceCounts
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import BoundingBox, Data, Embedding, RegionInfo
from postil.v1.image_pb2 import Image
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import MultiInputResponse, PostInputsRequest
from postil.v1.search_pb2 import Hit
from postil.v1.search_service_pb2 import MultiSearchResponse
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

READER = Reader()
PRINTER = Printer()
METHODS = methods.table()
TYPES = sorted(
    {m.request for m in METHODS.values()} | {m.response for m in METHODS.values()}, key=lambda t: t.DESCRIPTOR.full_name
)

_PLAIN: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32, allow_nan=False),
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_LEAVES = (
    st.none() | st.booleans() | _TEXT | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
)
_JSON: st.SearchStrategy[Any] = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3), max_leaves=6
)


@st.composite
def messages(draw: st.DrawFn, kind: type[Message]) -> Message:
    """Random messages of a type."""
    message = kind()
    _fill(draw, message, 0)
    return message


def _fill(draw: st.DrawFn, message: Any, depth: int) -> None:
    descriptor: Descriptor = message.DESCRIPTOR
    name = descriptor.full_name
    if name == "google.protobuf.Struct":
        message.update(draw(st.dictionaries(_TEXT, _JSON, max_size=3)))
    elif name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(-62135596800, 253402300799))
        message.nanos = draw(st.integers(0, 10**9 - 1))
    elif name == "google.protobuf.Value":
        json_format.ParseDict(draw(_JSON), message)
    elif descriptor.fields:
        fields = st.lists(st.sampled_from(list(descriptor.fields)), max_size=4, unique_by=lambda field: field.number)
        for field in draw(fields):
            _set(draw, message, field, depth)


def _set(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    count = draw(st.integers(1, 3)) if field.is_repeated else 1
    if field.message_type is None:
        values = [draw(_scalar(field)) for _ in range(count)]
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, values[0])
    elif field.message_type.GetOptions().map_entry or depth > 5:
        return
    elif field.is_repeated:
        for _ in range(count):
            _fill(draw, getattr(message, field.name).add(), depth + 1)
    else:
        getattr(message, field.name).SetInParent()
        _fill(draw, getattr(message, field.name), depth + 1)


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_STRING:
        return _TEXT
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=20)
    return _PLAIN[field.cpp_type]


any_message = st.sampled_from(TYPES).flatmap(messages)


@settings(max_examples=300, deadline=None)
@given(any_message)
def test_what_is_written_is_read_back_and_by_protobuf_too(message: Message) -> None:
    text = PRINTER.text(message)
    ours = type(message)()
    READER.read(json_text.parse(text), ours)
    assert ours == message
    assert json_format.Parse(text, type(message)()) == message


@settings(max_examples=300, deadline=None)
@given(any_message, st.booleans())
def test_what_protobuf_writes_is_read(message: Message, snake: bool) -> None:
    tree = json_format.MessageToDict(
        message, preserving_proto_field_name=snake, always_print_fields_with_no_presence=True
    )
    ours = type(message)()
    READER.read(json.loads(json.dumps(tree)), ours)
    assert ours == message


@settings(max_examples=300, deadline=None)
@given(any_message)
def test_stored_messages_are_written_as_others(message: Message) -> None:
    printer = StoredPrinter(1 << 20)
    for _ in range(2):  # the second time from memory
        read = printer.read(type(message), message.SerializeToString())
        assert json.loads(printer.text(read)) == json.loads(PRINTER.text(message))


@pytest.mark.parametrize(
    "hits",
    [
        [Hit()],
        [Hit(score=0.0, input=Input(id="a")), Hit(score=0.25)],
        [
            Hit(score=0.1, input=Input(id="a"), learned=-0.5),
            Hit(score=1e-7, annotation=Annotation(id='"}')),
            Hit(score=1),
        ],
        [Hit(score=float("nan"), user_id="me"), Hit(score=0.5)],
    ],
)
def test_hits_are_put_together_with_their_scores(hits: list[Hit]) -> None:
    response, printer = MultiSearchResponse(id="s", hits=hits), StoredPrinter(1 << 20)
    for _ in range(2):
        read = printer.read(MultiSearchResponse, response.SerializeToString())
        assert json.loads(printer.text(read)) == text_of(response)


def test_memory_for_stored_messages_is_bounded_and_right_after_it_turned_over() -> None:
    printer = StoredPrinter(20_000)
    for place in range(1000):
        hit = Hit(score=0.5, input=Input(id=f"input-{place}"), annotation=Annotation(id=f"input-{place}"))
        response = MultiSearchResponse(hits=[hit])
        read = printer.read(MultiSearchResponse, response.SerializeToString())
        assert json.loads(printer.text(read)) == json.loads(PRINTER.text(response))
    held = printer._pieces["postil.v1.Input"]
    assert 0 < len(held._young) + len(held._old) < 500


def text_of(message: Message) -> Any:
    return json.loads(PRINTER.text(message))


def test_status_codes_are_numbers_and_other_enums_names() -> None:
    assert text_of(Status(code=StatusCode.SUCCESS)) == {"code": 10000}
    assert text_of(Status()) == {"code": 0}
    model: Any = METHODS["ListModels"].response()
    model.models.add().visibility.gettable = 50
    assert text_of(model)["models"][0]["visibility"] == {"gettable": "PUBLIC"}
    model.models[0].visibility.gettable = 77
    assert text_of(model)["models"][0]["visibility"] == {"gettable": 77}


def test_fields_that_clients_rely_on_are_written_when_empty() -> None:
    assert text_of(Concept(id="a")) == {"id": "a", "value": 0.0}
    assert text_of(MultiSearchResponse()) == {"hits": []}
    assert text_of(MultiInputResponse()) == {"inputs": []}
    assert text_of(Hit()) == {"score": 0.0}
    assert set(text_of(BoundingBox(top_row=0.5))) == {"top_row", "left_col", "bottom_row", "right_col"}
    assert text_of(AppResourceCounts(inputs=2**60)) == {"inputs": str(2**60)}


def test_numbers_have_no_more_digits_than_they_mean() -> None:
    assert PRINTER.text(Hit(score=0.1)) == b'{"score":0.1}'
    assert b"[0.1,0.2,1e-8]" in PRINTER.text(Embedding(vector=[0.1, 0.2, 1e-8]))
    metadata = Struct()
    metadata.update({"year": 2020, "share": 0.5, "none": None, "empty": {}, "list": []})
    assert text_of(Data(metadata=metadata))["metadata"] == {
        "year": 2020,
        "share": 0.5,
        "none": None,
        "empty": {},
        "list": [],
    }
    assert b'"year":2020}' in PRINTER.text(Data(metadata=metadata)).replace(b",", b"}")
    assert text_of(Data(metadata=Struct())) == {"metadata": {}}
    metadata = Struct()
    metadata.update({"below": -0.0})
    assert b"-0.0" in PRINTER.text(Data(metadata=metadata))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_are_read_by_protobuf_too(sign: int) -> None:
    largest = sign * float(np.finfo(np.float32).max)
    for message in (Hit(score=largest), Embedding(vector=[0.5, largest])):
        text = PRINTER.text(message)
        assert json_format.Parse(text, type(message)()) == message
        assert read(type(message), json_text.parse(text)) == message


def test_what_is_not_finite_is_said_in_words() -> None:
    assert text_of(Hit(score=math.nan)) == {"score": "NaN"}
    assert text_of(Embedding(vector=[1, math.inf, -math.inf]))["vector"] == [1.0, "Infinity", "-Infinity"]


def read(kind: type[Any], tree: Any) -> Any:
    message = kind()
    READER.read(tree, message)
    return message


def refused(kind: type[Any], tree: Any) -> str:
    with pytest.raises(Failure) as caught:
        read(kind, tree)
    assert caught.value.code == StatusCode.CONN_BAD_REQUEST_FORMAT
    return caught.value.details


@pytest.mark.parametrize(
    "tree", [{"id": "a"}, {"id": "a", "value": None}, {"id": "a", "value": True}, {"id": "a", "value": 1}]
)
def test_an_absent_value_of_a_concept_means_1(tree: Any) -> None:
    assert read(Concept, tree) == Concept(id="a", value=1)
    deep = {
        "inputs": [{"data": {"regions": [{"data": {"concepts": [tree]}}], "frames": [{"data": {"concepts": [tree]}}]}}]
    }
    data = read(PostInputsRequest, deep).inputs[0].data
    assert data.regions[0].data.concepts[0].value == data.frames[0].data.concepts[0].value == 1


@pytest.mark.parametrize("value", [0, 0.0, False, "0"])
def test_a_value_of_0_stays_0(value: Any) -> None:
    assert read(Concept, {"id": "a", "value": value}) == Concept(id="a", value=0)


def test_unknown_keys_and_nulls_are_ignored() -> None:
    tree = {
        "id": None,
        "brute_force": True,
        "data": {"image": {"url": "u", "crop": [0.1, 0.2, 0.3, 0.4]}, "concepts": None},
    }
    assert read(Input, tree) == Input(data=Data(image=Image(url="u")))


@pytest.mark.parametrize("code", [30000, "INPUT_SUCCESS", "INPUT_DOWNLOAD_SUCCESS", "30000", 30000.0])
def test_enums_by_name_alias_or_number(code: Any) -> None:
    assert read(Status, {"code": code}).code == 30000


@pytest.mark.parametrize(
    "text", ["aGVsbG8gd29ybGQ/Pz8+", "aGVsbG8gd29ybGQ_Pz8-", "aGVs\nbG8gd29y\r\nbGQ/ Pz8+", "aGVsbG8gd29ybGQ/Pz8+\n"]
)
def test_base64_however_it_comes(text: str) -> None:
    assert read(Image, {"base64": text}).base64 == b"hello world???>"
    assert read(Image, {"base64": "aGk"}).base64 == read(Image, {"base64": "aGk="}).base64 == b"hi"


@pytest.mark.parametrize(
    ("kind", "tree", "said"),
    [
        (Input, {"id": 5}, "id: expected a string, got 5."),
        (Input, {"data": []}, "data: expected an object, got []."),
        (PostInputsRequest, {"inputs": {"id": "a"}}, "inputs: expected an array, got {'id': 'a'}."),
        (
            PostInputsRequest,
            {"inputs": [{}, {"data": {"concepts": [{"value": "x"}]}}]},
            "inputs[1].data.concepts[0].value: expected a number, got 'x'.",
        ),
        (PostInputsRequest, {"inputs": [None]}, "inputs[0]: expected an object, got None."),
        (Image, {"base64": "*"}, "base64: expected base64 text, got '*'."),
        (Status, {"code": "NOPE"}, "code: expected a number or one of"),
        (Input, {"created_at": "yesterday"}, "created_at: expected a time such as"),
        (Input, {"data": {"metadata": "x"}}, "data.metadata: expected an object"),
        (Embedding, {"vector": [1, "x"]}, "vector[1]: expected a number, got 'x'."),
        (Embedding, {"num_dimensions": -1}, "num_dimensions: expected a whole number from 0"),
        (Embedding, {"num_dimensions": 1.5}, "num_dimensions: expected a whole number from 0"),
        (Embedding, {"num_dimensions": 10**400}, "num_dimensions: expected a whole number from 0"),
        (Concept, {"value": 10**400}, "value: expected a number of ordinary size"),
        (Concept, {"name": "\ud800"}, "name: expected text without lone surrogates"),
        (RegionInfo, {"bounding_box": {"top_row": {}}}, "bounding_box.top_row: expected a number"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_its_path(kind: type[Any], tree: Any, said: str) -> None:
    assert refused(kind, tree).startswith(said)


def test_depth_is_bounded() -> None:
    tree: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        tree = {"data": {"regions": [tree]}}
    assert "levels" in refused(Input, {"data": {"regions": [tree]}})
    metadata: Any = 1
    for _ in range(MAX_DEPTH):
        metadata = {"a": metadata}
    assert "levels" in refused(Data, {"metadata": metadata})
    for levels in range(20, 60):  # what is let in can be parsed again
        metadata = 1
        for _ in range(levels):
            metadata = {"a": [metadata]} if levels % 2 else {"a": metadata}
        try:
            message = read(PostInputsRequest, {"inputs": [{"data": {"metadata": metadata}}]})
        except Failure:
            continue
        PostInputsRequest.FromString(message.SerializeToString())


@pytest.mark.parametrize(
    ("seconds", "nanos", "shown"),
    [
        (2**63 - 1, -1, "9999-12-31T23:59:59Z"),
        (-(2**63), 2**31 - 1, "0001-01-01T00:00:00.999999999Z"),
        (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
    ],
)
def test_what_is_no_time_is_shown_as_the_nearest(seconds: int, nanos: int, shown: str) -> None:
    stored = Input(id="a")
    stored.data.concepts.add().created_at.seconds = seconds
    stored.data.concepts[0].created_at.nanos = nanos
    assert PRINTER.value(stored)["data"]["concepts"][0]["created_at"] == shown


def test_no_thread_writes_with_what_another_has_not_finished_compiling() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Halting(Printer):
        def _field(self, field: FieldDescriptor) -> Any:
            begun.set()
            assert go_on.wait(60)
            return super()._field(field)

    printer, status = Halting(), Status(code=StatusCode.SUCCESS, description="Ok")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(printer.value, status)
        assert begun.wait(60)
        second = threads.submit(printer.value, status)
        wait([second], timeout=0.3)  # time to do it wrong
        go_on.set()
        assert first.result(60) == second.result(60) == PRINTER.value(status)


def test_classes_of_the_copied_schema_are_there_for_good() -> None:
    """A class that is collected while another thread is given it brings the process down."""
    printer = StoredPrinter(1 << 16)
    wire = MultiInputResponse(status=Status(description="Ok")).SerializeToString()
    held = weakref.ref(type(printer.read(MultiInputResponse, wire).status))
    gc.collect()
    assert held() is not None
