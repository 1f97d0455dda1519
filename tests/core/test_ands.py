"""The older form of queries, translated: what old clients send, what cannot be said, and messages in their terms."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from postil.core.ands import Translation, translate
from postil.core.ranks import invalid
from postil.errors import Failure
from postil.v1.search_pb2 import And, Query
from postil.v1.status_code_pb2 import StatusCode


def translated(*ands: dict[str, Any], **query: Any) -> Translation:
    return translate(json_format.ParseDict({"ands": ands, **query}, Query()), "searches[0].query", "query")


def said(*ands: dict[str, Any], **query: Any) -> dict[str, Any]:
    """The translation as JSON."""
    found = json_format.MessageToDict(translated(*ands, **query).query, preserving_proto_field_name=True)
    return dict(found)


def data(**fields: Any) -> dict[str, Any]:
    return {"data": fields}


CAT = {"id": "cat", "value": 1.0}
URL = "http://example.org/a.jpg"

FILTERS = {
    "label": ({"input": data(concepts=[CAT])}, {"annotation": data(concepts=[CAT])}),
    "label absent": ({"input": data(concepts=[{"id": "cat"}])}, {"annotation": data(concepts=[{"id": "cat"}])}),
    "id": ({"input": {"id": "i"}}, {"annotation": {"input_id": "i"}}),
    "id beside noise": ({"input": {"id": "i", "data": {"image": {}}}}, {"annotation": {"input_id": "i"}}),
    "labels beside noise": (
        {"input": data(image={}, concepts=[CAT])},
        {"annotation": data(concepts=[CAT])},
    ),
    "url": ({"input": data(image={"url": URL})}, {"input": data(image={"url": URL})}),
    "geo": (
        {"input": data(geo={"geo_point": {"latitude": 1.0, "longitude": 2.0}})},
        {"annotation": data(geo={"geo_point": {"latitude": 1.0, "longitude": 2.0}})},
    ),
    "metadata": ({"input": data(metadata={"a": {"b": 1}})}, {"annotation": data(metadata={"a": {"b": 1}})}),
    "datasets": ({"input": {"dataset_ids": ["d", "e"]}}, {"input": {"dataset_ids": ["d", "e"]}}),
    "status": ({"input": {"status": {"code": 30000}}}, {"input": {"status": {"code": "INPUT_SUCCESS"}}}),
    "medium": ({"input": data(video={})}, {"input": data(video={})}),
    "annotation": (
        {"annotation": {"user_id": "u", "data": {}}},
        {"annotation": {"user_id": "u", "data": {}}},
    ),
    "clusters": ({"input": data(clusters=[{"id": "c"}])}, {"annotation": data(clusters=[{"id": "c"}])}),
}


@pytest.mark.parametrize("name", FILTERS)
def test_conditions_become_filters(name: str) -> None:
    term, expected = FILTERS[name]
    assert said(term) == {"filters": [expected]}
    assert said({**term, "negate": True}) == {"filters": [{**expected, "negate": True}]}


RANKS = {
    "concepts": ({"output": data(concepts=[CAT])}, {"annotation": data(concepts=[CAT])}),
    "not a concept": ({"output": data(concepts=[{"name": "cat"}])}, {"annotation": data(concepts=[{"name": "cat"}])}),
    "url": ({"output": {"input": data(image={"url": URL})}}, {"annotation": data(image={"url": URL})}),
    "bytes": ({"output": {"input": data(image={"base64": "eA=="})}}, {"annotation": data(image={"base64": "eA=="})}),
    "id": ({"output": {"input": {"id": "i"}}}, {"annotation": {"input_id": "i"}}),
    "id beside noise": ({"output": {"input": {"id": "i", "data": {"image": {}}}}}, {"annotation": {"input_id": "i"}}),
    "text": ({"output": {"input": data(text={"raw": "t"})}}, {"annotation": data(text={"raw": "t"})}),
    "clusters": ({"output": data(clusters=[{"id": "c"}])}, {"annotation": data(clusters=[{"id": "c"}])}),
}


@pytest.mark.parametrize("name", RANKS)
def test_outputs_become_ranks(name: str) -> None:
    term, expected = RANKS[name]
    assert said(term) == {"ranks": [expected]}
    assert said({**term, "negate": True}) == {"ranks": [{**expected, "negate": True}]}


@pytest.mark.parametrize(
    "term", [{}, {"input": {}}, {"input": {"data": {"image": {}}}}, {"output": {"input": {"data": {"image": {}}}}}]
)
def test_what_says_nothing_is_no_condition(term: dict[str, Any]) -> None:
    assert said(term) == {}
    with pytest.raises(Failure, match=r"query\.ands\[1\] negates nothing"):
        said({"input": {"id": "i"}}, {**term, "negate": True})


def test_all_ands_hold_in_their_order_beside_the_querys_own_filters() -> None:
    own = {"annotation": {"input_id": "own"}}
    found = said({"input": {"id": "i"}}, {"output": data(concepts=[CAT])}, {"input": {"id": "j"}}, filters=[own])
    assert found == {
        "filters": [own, {"annotation": {"input_id": "i"}}, {"annotation": {"input_id": "j"}}],
        "ranks": [{"annotation": data(concepts=[CAT])}],
    }
    assert said({"output": data(concepts=[CAT])}, language="ja")["language"] == "ja"


def test_every_key_of_metadata_must_be_there_so_each_becomes_a_filter() -> None:
    first, second = said({"input": {"id": "i", "data": {"metadata": {"a": 1, "b": [2]}}}})["filters"]
    assert first["annotation"]["input_id"] == "i"
    assert list(second["annotation"]) == ["data"]
    keys = [first["annotation"]["data"]["metadata"], second["annotation"]["data"]["metadata"]]
    assert sorted(keys, key=list) == [{"a": 1.0}, {"b": [2.0]}]


def test_conditions_on_the_input_itself_must_all_hold() -> None:
    found = said({"input": {"dataset_ids": ["d"], "status": {"code": 30000}, "data": {"text": {}}}})
    assert found["filters"] == [
        {"input": {"dataset_ids": ["d"]}},
        {"input": {"status": {"code": "INPUT_SUCCESS"}}},
        {"input": data(text={})},
    ]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two terms": ({"input": {"id": "i"}, "output": data(concepts=[CAT])}, "query.ands[0] holds input and output"),
    "negated keys": (
        {"input": data(metadata={"a": 1, "b": 2}), "negate": True},
        "query.ands[0].input.data.metadata: several keys cannot be negated together",
    ),
    "negated states": (
        {"input": {"dataset_ids": ["d"], "status": {"code": 30000}}, "negate": True},
        "query.ands[0].input: several conditions on it cannot be negated together",
    ),
    "bytes as a condition": ({"input": data(image={"base64": "eA=="})}, "query.ands[0].input.data.image.base64"),
    "regions of an input": ({"input": data(regions=[{"id": "r"}])}, "query.ands[0].input.data.regions"),
    "a model": ({"output": {"model": {"id": "m"}}}, "query.ands[0].output.model"),
    "datasets of an output": ({"output": {"input": {"dataset_ids": ["d"]}}}, "query.ands[0].output.input.dataset_ids"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_said_is_refused_by_name(name: str) -> None:
    term, details = REFUSED[name]
    with pytest.raises(Failure) as failure:
        translated(term)
    assert failure.value.code == StatusCode.SEARCH_INVALID_REQUEST
    assert details in failure.value.details


@pytest.mark.parametrize(
    ("engine", "caller"),
    [
        ("filters[0].annotation.data.concepts[1]: no", "query.ands[0].input.data.concepts[1]: no"),
        ("filters[0].annotation.input_id: no", "query.ands[0].input.id: no"),
        ("filters[1].input.dataset_ids: no", "query.ands[1].input.dataset_ids: no"),
        ("ranks[0]: the app has no input", "query.ands[2]: the app has no input"),
        ("ranks[0].annotation.data.image is empty", "query.ands[2].output.input.data.image is empty"),
        ("ranks[1].annotation.data.clusters no", "query.ands[3].output.data.clusters no"),
        ("language no", "query.language no"),
    ],
)
def test_a_refusal_of_the_engine_names_what_was_sent(engine: str, caller: str) -> None:
    made = translated(
        {"input": {"id": "i", "data": {"concepts": [CAT]}}},
        {"input": {"dataset_ids": ["d"]}},
        {"output": {"input": data(image={"url": URL})}},
        {"output": data(clusters=[{"id": "c"}])},
    )
    failure = made.retold(invalid(f"searches[0].query.{engine}"))
    assert (failure.code, failure.details) == (StatusCode.SEARCH_INVALID_REQUEST, caller)


def test_the_query_that_was_sent_stays_as_it_is() -> None:
    query = Query(ands=[And(negate=True)])
    query.ands[0].input.id = "i"
    before = query.SerializeToString()
    translate(query, "searches[0].query")
    assert query.SerializeToString() == before
