"""Reading searches: what means "no constraint", what is understood, and what is refused by name."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from postil.core.query import read_query
from postil.core.ranks import ByConcept, ByInput, ByPicture, ByText, ByVector
from postil.errors import Failure
from postil.index.base import Metric
from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import TimeRange
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.input_pb2 import Input
from postil.v1.search_pb2 import And, Filter, Query, Rank, Search
from postil.v1.status_code_pb2 import StatusCode


def ranked(*ranks: Rank) -> Search:
    return Search(query=Query(ranks=ranks))


def by(data: Data, input_id: str = "") -> Rank:
    return Rank(annotation=Annotation(data=data, input_id=input_id))


def concept(value: float, *, negate: bool = False) -> Rank:
    return Rank(annotation=Annotation(data=Data(concepts=[Concept(id="cat", value=value)])), negate=negate)


def vector(*numbers: float) -> Data:
    data = Data()
    data.embeddings.add(vector=numbers)
    return data


@pytest.mark.parametrize(
    "search",
    [
        Search(),
        ranked(Rank()),
        ranked(Rank(annotation=Annotation())),
        ranked(Rank(annotation=Annotation()), Rank()),
        ranked(Rank(annotation=Annotation(data=Data()))),
        Search(
            query=Query(filters=[Filter(annotation=Annotation(), input=Input())], ranks=[Rank(annotation=Annotation())])
        ),
        Search(query=Query(filters=[Filter(last_updated_time_range=TimeRange()), Filter(input=Input(data=Data()))])),
    ],
)
def test_empty_ranks_and_filters_constrain_nothing(search: Search) -> None:
    query = read_query(search, "searches[0]")
    assert query.ranks == ()
    assert query.unfiltered
    assert query.metric is Metric.EUCLIDEAN
    assert not query.exact


def test_each_subject_is_read() -> None:
    image, text = Data(), Data()
    image.image.url = "http://example.org/a.jpg"
    text.text.raw = "a harbour at dusk"
    wanted = [
        (by(vector(1, 2)), ByVector),
        (by(image), ByPicture),
        (by(text), ByText),
        (Rank(annotation=Annotation(input_id="a")), ByInput),
        (concept(1), ByConcept),
    ]
    for rank, kind in wanted:
        found = read_query(ranked(Rank(), rank), "searches[0]").rank
        assert found is not None
        assert isinstance(found.subject, kind)
        assert not found.flip


@pytest.mark.parametrize(
    ("value", "negate", "flip"), [(1, False, False), (0, False, True), (1, True, True), (0, True, False)]
)
def test_value_zero_and_negate_each_flip(value: float, negate: bool, flip: bool) -> None:
    found = read_query(ranked(concept(value, negate=negate)), "searches[0]").rank
    assert found is not None
    assert found.flip is flip


@pytest.mark.parametrize(
    ("name", "exact"),
    [("", False), ("nearest_neighbor", False), ("brute_force", True), ("avg_concept_brute_force", True)],
)
def test_algorithms(name: str, exact: bool) -> None:
    assert read_query(Search(algorithm=name), "searches[0]").exact is exact


def test_metrics() -> None:
    assert read_query(Search(metric=Search.COSINE_DISTANCE), "searches[0]").metric is Metric.COSINE
    assert read_query(Search(metric=Search.EUCLIDEAN_DISTANCE), "searches[0]").metric is Metric.EUCLIDEAN


def test_an_empty_image_beside_an_id_is_noise() -> None:
    data = Data()
    data.image.SetInParent()
    found = read_query(ranked(by(data, input_id="a")), "searches[0]").rank
    assert found is not None
    assert isinstance(found.subject, ByInput)


def empty_medium(name: str) -> Data:
    data = Data()
    getattr(data, name).SetInParent()
    return data


def text_at(url: str) -> Data:
    data = Data()
    data.text.url = url
    return data


def metadata() -> Data:
    data = Data()
    data.metadata.update({"a": 1})
    return data


@pytest.mark.parametrize(
    ("search", "named"),
    [
        (Search(algorithm="magic"), "algorithm"),
        (Search(metric=7), "metric"),  # type: ignore[arg-type]
        (Search(min_value=float("nan")), "min_value"),
        (Search(save=True), "save"),
        (Search(query=Query(ands=[And()])), "ands"),
        (
            Search(query=Query(filters=[Filter(), Filter(input=Input(created_at=Timestamp(seconds=1)))])),
            "filters[1].input",
        ),
        (Search(query=Query(filters=[Filter(annotation=Annotation(data=vector(1)))])), "annotation.data.embeddings"),
        (ranked(*[concept(1)] * 33), "33 things"),
        (ranked(Rank(negate=True)), "nothing to rank by"),
        (ranked(Rank(annotation=Annotation(embed_model_version_id="x"))), "nothing to rank by"),
        (ranked(by(Data(concepts=[Concept(value=1)]))), "concepts[0]"),
        (ranked(by(Data(concepts=[Concept(id="a", value=0.5)]))), "value is 0.5"),
        (ranked(by(vector())), "embeddings[0]"),
        (ranked(by(vector(0, 0))), "zero"),
        (ranked(by(vector(1, float("nan")))), "NaN"),
        (ranked(by(vector(1, float("inf")))), "NaN or infinity"),
        (ranked(by(empty_medium("image"))), "image.url or image.base64"),
        (ranked(by(empty_medium("text"))), "text.raw"),
        (ranked(by(text_at("http://example.org"))), "text.url"),
        (ranked(by(empty_medium("video"))), "data.video"),
        (ranked(by(metadata())), "data.metadata"),
        (ranked(Rank(annotation=Annotation(model_version_id="m"))), "nothing to rank by"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(search: Search, named: str) -> None:
    with pytest.raises(Failure) as refused:
        read_query(search, "searches[0]")
    assert refused.value.code == StatusCode.SEARCH_INVALID_REQUEST
    assert named in refused.value.details
    assert "searches[0]" in refused.value.details


def test_weights_are_shared_among_ranks_and_then_within_them() -> None:
    two = by(Data(concepts=[Concept(id="a", value=1), Concept(id="b", value=0)]), input_id="i")
    found = read_query(ranked(two, Rank(), concept(1)), "searches[0]").ranks
    assert [rank.weight for rank in found] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert sum(rank.flip for rank in found) == 1


def test_a_time_to_look_back_to() -> None:
    assert read_query(Search(as_of=Timestamp(seconds=2, nanos=3000)), "searches[0]").as_of_us == 2_000_003
