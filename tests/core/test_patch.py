"""Merge, remove and overwrite of messages: examples of each rule, then properties that hold for any message."""

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from postil.core import patch
from postil.errors import Failure
from postil.v1.annotation_pb2 import Annotation
from postil.v1.app_pb2 import App
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import (
    BoundingBox,
    Data,
    Embedding,
    Frame,
    FrameInfo,
    Geo,
    GeoPoint,
    Point,
    Polygon,
    Region,
    RegionInfo,
)
from postil.v1.image_pb2 import Image
from postil.v1.input_pb2 import Input
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status
from postil.v1.user_pb2 import User
from postil.v1.worker_pb2 import Worker


def struct(value: Mapping[str, Any]) -> Struct:
    made = Struct()
    made.update(value)
    return made


def concepts(*wanted: str | tuple[str, float]) -> Data:
    pairs = [(one, 1.0) if isinstance(one, str) else one for one in wanted]
    return Data(concepts=[Concept(id=name, name=name, value=value) for name, value in pairs])


def labels(data: Data) -> dict[str, float]:
    return {concept.id: concept.value for concept in data.concepts}


def box(top: float, left: float, bottom: float, right: float) -> RegionInfo:
    return RegionInfo(bounding_box=BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right))


# Actions.


def test_no_action_means_merge() -> None:
    assert patch.apply("", App(name="a"), App(notes="b")) == App(name="a", notes="b")


@pytest.mark.parametrize("action", ["delete", "Merge", "merge_concepts", "x" * 5000])
def test_an_unknown_action_is_refused_and_the_three_are_named(action: str) -> None:
    with pytest.raises(Failure) as caught:
        patch.apply(action, App(), App())
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST
    assert "merge, remove or overwrite" in caught.value.details
    assert len(caught.value.details) < 200


def test_a_call_may_allow_one_action_only() -> None:
    assert patch.chosen("", ["overwrite"], "overwrite") == "overwrite"
    with pytest.raises(Failure, match="only overwrite"):
        patch.chosen("merge", ["overwrite"], "overwrite")


# Messages.


def test_arguments_stay_as_they_are() -> None:
    stored, sent = Annotation(id="a", data=concepts("x")), Annotation(id="b", data=concepts("y"))
    before, wanted = stored.SerializeToString(), sent.SerializeToString()
    for action in patch.ACTIONS:
        patch.apply(action, stored, sent)
        patch.annotation(action, stored, sent)
    assert stored.SerializeToString() == before
    assert sent.SerializeToString() == wanted


def test_ids_are_never_patched() -> None:
    for action in patch.ACTIONS:
        assert patch.apply(action, App(id="a", name="x"), App(id="b", description="y")).id == "a"


def test_merge_keeps_the_order_and_puts_new_entries_last() -> None:
    merged = patch.apply("merge", Input(data=concepts("a", "b")), Input(data=concepts("c", ("a", 0.0))))
    assert [concept.id for concept in merged.data.concepts] == ["a", "b", "c"]
    assert labels(merged.data) == {"a": 0.0, "b": 1.0, "c": 1.0}


def test_an_absent_concept_value_is_a_negative_label() -> None:
    sent = Input(data=Data(concepts=[Concept(id="a")]))
    merged = patch.apply("merge", Input(data=concepts("a")), sent)
    assert labels(merged.data) == {"a": 0.0}
    assert merged.data.concepts[0].name == "a"


def test_remove_drops_named_concepts_whatever_else_is_said_of_them() -> None:
    result = patch.apply("remove", Input(data=concepts("a", "b", "c")), Input(data=concepts("c", ("a", 0.5), "zzz")))
    assert labels(result.data) == {"b": 1.0}


def test_remove_leaves_an_emptied_object_in_place() -> None:
    result = patch.apply("remove", Input(id="i", data=concepts("a")), Input(data=concepts("a")))
    assert result.HasField("data")
    assert not result.data.concepts


def test_an_empty_object_replaces_in_merge_and_does_nothing_in_remove() -> None:
    stored = Input(data=Data(geo=Geo(geo_point=GeoPoint(longitude=1, latitude=2)), metadata=struct({"a": 1})))
    sent = Input(data=Data(geo=Geo(), metadata=Struct()))
    merged = patch.apply("merge", stored, sent)
    assert merged.data.HasField("geo")
    assert not merged.data.geo.HasField("geo_point")
    assert merged.data.HasField("metadata")
    assert not merged.data.metadata.fields
    assert patch.apply("remove", stored, sent) == stored


def test_a_place_is_one_value() -> None:
    stored = Data(geo=Geo(geo_point=GeoPoint(longitude=55, latitude=66)))
    sent = Data(geo=Geo(geo_point=GeoPoint(longitude=0, latitude=77)))
    assert patch.apply("merge", stored, sent).geo.geo_point == GeoPoint(longitude=0, latitude=77)


def test_a_status_is_one_value() -> None:
    stored = Annotation(status=Status(code=StatusCode.ANNOTATION_PENDING, description="Pending", details="why"))
    sent = Annotation(status=Status(code=StatusCode.ANNOTATION_SUCCESS))
    assert patch.apply("merge", stored, sent).status == Status(code=StatusCode.ANNOTATION_SUCCESS)


def test_an_author_replaces_another() -> None:
    stored = Annotation(worker=Worker(user=User(id="ann", first_name="Ann")))
    sent = Annotation(worker=Worker(user=User(id="bob")))
    assert patch.apply("merge", stored, sent).worker == Worker(user=User(id="bob"))


def test_lists_without_ids() -> None:
    stored = Input(dataset_ids=["a", "b"])
    assert patch.apply("merge", stored, Input(dataset_ids=["c"])).dataset_ids == ["a", "b", "c"]
    assert patch.apply("remove", stored, Input(dataset_ids=["a", "z"])).dataset_ids == ["b"]
    assert patch.apply("overwrite", stored, Input(dataset_ids=["c"])).dataset_ids == ["c"]


def test_vectors_are_matched_by_their_space() -> None:
    stored = Data(embeddings=[Embedding(vector=[1, 2], space="mine"), Embedding(vector=[3], space="other")])
    merged = patch.apply("merge", stored, Data(embeddings=[Embedding(vector=[9, 9], space="mine")]))
    assert [list(one.vector) for one in merged.embeddings] == [[9, 9], [3]]


def test_remove_clears_a_field_that_is_named() -> None:
    stored = Annotation(id="a", task_id="t", data=Data(geo=Geo(geo_point=GeoPoint(longitude=1, latitude=2))))
    sent = Annotation(task_id="t", data=Data(geo=Geo(geo_point=GeoPoint(longitude=1))))
    result = patch.apply("remove", stored, sent)
    assert result.task_id == ""
    assert result.data.HasField("geo")
    assert not result.data.geo.HasField("geo_point")


def test_overwrite_replaces_what_is_sent_and_keeps_the_rest() -> None:
    stored = Annotation(id="a", task_id="t", data=concepts("x", "y"), annotation_info=struct({"k": 1}))
    result = patch.apply("overwrite", stored, Annotation(data=concepts("z")))
    assert labels(result.data) == {"z": 1.0}
    assert result.task_id == "t"
    assert result.annotation_info == struct({"k": 1})


# The one region of an annotation.


def region_annotation() -> Annotation:
    region = Region(id="r", region_info=box(0.1, 0.2, 0.3, 0.4), data=concepts("x"))
    return Annotation(id="a", input_id="i", data=Data(regions=[region]))


@pytest.mark.parametrize("region_id", ["", "r"])
def test_merge_updates_the_one_region_in_place(region_id: str) -> None:
    sent = Annotation(id="a", data=Data(regions=[Region(id=region_id, region_info=box(0, 0.5, 0.9, 0.8))]))
    result = patch.annotation("merge", region_annotation(), sent)
    assert len(result.data.regions) == 1
    assert result.data.regions[0].id == "r"
    assert result.data.regions[0].region_info == box(0, 0.5, 0.9, 0.8)
    assert labels(result.data.regions[0].data) == {"x": 1.0}


def test_merge_relabels_the_one_region() -> None:
    sent = Annotation(data=Data(regions=[Region(id="r", data=concepts("y", ("x", 0.0)))]))
    result = patch.annotation("merge", region_annotation(), sent)
    assert result.data.regions[0].region_info == box(0.1, 0.2, 0.3, 0.4)
    assert labels(result.data.regions[0].data) == {"x": 0.0, "y": 1.0}


def test_merge_replaces_one_geometry_by_another() -> None:
    outline = RegionInfo(polygon=Polygon(points=[Point(row=0, col=0), Point(row=1, col=0), Point(row=1, col=1)]))
    sent = Annotation(data=Data(regions=[Region(region_info=outline)]))
    once = patch.annotation("merge", region_annotation(), sent)
    assert once.data.regions[0].region_info == outline
    assert patch.annotation("merge", once, sent) == once


def test_another_region_is_appended_for_the_caller_to_refuse() -> None:
    sent = Annotation(data=Data(regions=[Region(id="other", region_info=box(0, 0, 1, 1))]))
    assert [one.id for one in patch.annotation("merge", region_annotation(), sent).data.regions] == ["r", "other"]


def test_the_one_region_of_a_frame() -> None:
    region = Region(id="r", region_info=box(0.1, 0.2, 0.3, 0.4))
    frame = Frame(frame_info=FrameInfo(index=3, time=100), data=Data(regions=[region]))
    stored = Annotation(data=Data(frames=[frame]))
    moved = Region(region_info=box(0.5, 0.5, 0.6, 0.6))
    sent = Annotation(data=Data(frames=[Frame(frame_info=FrameInfo(index=4), data=Data(regions=[moved]))]))
    result = patch.annotation("merge", stored, sent)
    assert len(result.data.frames) == 1
    assert result.data.frames[0].frame_info == FrameInfo(index=4)
    assert [(one.id, one.region_info) for one in result.data.frames[0].data.regions] == [("r", moved.region_info)]


def test_overwrite_keeps_the_id_of_the_region_and_nothing_else_of_it() -> None:
    sent = Annotation(data=Data(regions=[Region(region_info=box(0, 0, 1, 1))]))
    result = patch.annotation("overwrite", region_annotation(), sent)
    assert result.data.regions[0] == Region(id="r", region_info=box(0, 0, 1, 1))


def test_remove_takes_labels_from_the_region_or_the_region_itself() -> None:
    unlabel = Annotation(data=Data(regions=[Region(data=concepts("x"))]))
    unlabelled = patch.annotation("remove", region_annotation(), unlabel)
    assert unlabelled.data.regions[0].region_info == box(0.1, 0.2, 0.3, 0.4)
    assert not unlabelled.data.regions[0].data.concepts
    drop = Annotation(data=Data(regions=[Region(id="r")]))
    assert not patch.annotation("remove", region_annotation(), drop).data.regions


def test_an_annotation_keeps_its_ids_and_dates_and_always_has_a_status() -> None:
    stored = region_annotation()
    stored.created_at.seconds = 5
    stored.status.code = StatusCode.ANNOTATION_SUCCESS
    sent = Annotation(id="zz", input_id="zz", input_level=True, status=Status(code=StatusCode.ANNOTATION_PENDING))
    sent.created_at.seconds = 9
    for action in patch.ACTIONS:
        result = patch.annotation(action, stored, sent)
        assert (result.id, result.input_id, result.created_at.seconds, result.input_level) == ("a", "i", 5, False)
        assert result.status.code == StatusCode.ANNOTATION_PENDING
        assert result.data == stored.data


def test_a_patch_without_data_adds_none() -> None:
    sent = Annotation(task_id="t")
    for action in patch.ACTIONS:
        assert not patch.annotation(action, Annotation(id="a"), sent).HasField("data")


# The data of an input.

PICTURE = Image(url="http://host/1.jpg")


def stored_input() -> Data:
    data = concepts("car")
    data.image.CopyFrom(PICTURE)
    data.geo.geo_point.longitude = 40.0
    return data


def test_overwrite_replaces_the_whole_data_and_keeps_the_medium() -> None:
    sent = concepts("ferrari")
    sent.metadata.update({"foo": "bar"})
    result = patch.input_data("overwrite", stored_input(), sent)
    assert result.image == PICTURE
    assert labels(result) == {"ferrari": 1.0}
    assert not result.HasField("geo")
    assert result.metadata == struct({"foo": "bar"})


def test_the_medium_survives_every_action() -> None:
    for action in patch.ACTIONS:
        for sent in (Data(), Data(image=Image()), Data(image=PICTURE), Data(image=Image(allow_duplicate_url=True))):
            assert patch.input_data(action, stored_input(), sent).image == PICTURE


def test_empty_data_empties_in_merge_and_does_nothing_in_remove() -> None:
    assert patch.input_data("merge", stored_input(), Data()) == Data(image=PICTURE)
    assert patch.input_data("overwrite", stored_input(), Data()) == Data(image=PICTURE)
    assert patch.input_data("remove", stored_input(), Data()) == stored_input()


def test_the_medium_itself_cannot_be_exchanged() -> None:
    for sent in (Data(image=Image(url="http://host/2.jpg")), Data(image=Image(base64=b"x"))):
        with pytest.raises(Failure) as caught:
            patch.input_data("merge", stored_input(), sent)
        assert caught.value.code == StatusCode.INPUT_INVALID_ARGUMENT
        assert "data.image" in caught.value.details
    with pytest.raises(Failure):
        patch.input_data("merge", Data(), Data(image=PICTURE))


def test_merge_of_an_input_deep_merges_metadata() -> None:
    stored = Data(metadata=struct({"key1": 123, "key2": {"inner": "v"}}))
    result = patch.input_data("merge", stored, Data(metadata=struct({"new-key": "new-value"})))
    assert result.metadata == struct({"key1": 123, "key2": {"inner": "v"}, "new-key": "new-value"})


# Properties.

IDS = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.sampled_from([0.0, 0.5, 1.0])
CONCEPTS = st.lists(st.tuples(IDS, VALUES), max_size=4, unique_by=lambda pair: pair[0])


@st.composite
def data(draw: st.DrawFn) -> Data:
    """Data whose lists all carry ids, each once."""
    made = Data(concepts=[Concept(id=name, value=value) for name, value in draw(CONCEPTS)])
    for name in draw(st.lists(IDS, max_size=2, unique=True)):
        inner = [Concept(id=one, value=value) for one, value in draw(CONCEPTS)]
        made.regions.add(id=name, region_info=box(0.1, 0.1, 0.5, 0.5), data=Data(concepts=inner))
    return made


@given(data(), data())
def test_overwriting_twice_is_overwriting_once(stored: Data, sent: Data) -> None:
    current = Annotation(id="a", data=stored, task_id="t")
    once = patch.apply("overwrite", current, Annotation(data=sent))
    assert patch.apply("overwrite", once, Annotation(data=sent)) == once
    assert once == Annotation(id="a", data=sent, task_id="t")


@given(data())
def test_merging_a_message_with_itself_changes_nothing(stored: Data) -> None:
    current = Annotation(id="a", data=stored)
    if stored.ByteSize():
        assert patch.apply("merge", current, current) == current


@given(data(), data())
def test_merging_twice_is_merging_once(stored: Data, sent: Data) -> None:
    current, change = Annotation(data=stored), Annotation(data=sent)
    once = patch.apply("merge", current, change)
    assert patch.apply("merge", once, change) == once


@given(CONCEPTS, CONCEPTS)
def test_merge_is_the_union_of_labels_where_the_later_word_counts(
    stored: list[tuple[str, float]], sent: list[tuple[str, float]]
) -> None:
    result = patch.apply("merge", concepts(*stored), concepts(*sent))
    assert labels(result) == {**dict(stored), **dict(sent)}
    assert [one.id for one in result.concepts][: len(stored)] == [name for name, _ in stored]


@given(data(), data())
def test_what_was_merged_can_be_removed(stored: Data, sent: Data) -> None:
    merged = patch.apply("merge", stored, sent)
    result = patch.apply("remove", merged, sent)
    named = {one.id for one in sent.concepts}
    assert labels(result) == {name: value for name, value in labels(stored).items() if name not in named}
    assert {one.id for one in result.regions} == {one.id for one in merged.regions} - {one.id for one in sent.regions}


# Maps.


def test_maps_are_patched_by_their_keys() -> None:
    stored, change = App(), App()
    for app, key, width in ((stored, "large", 9), (stored, "small", 1), (change, "small", 2)):
        app.image.hosted_image_info[key].width = width
    sizes = {
        action: {key: info.width for key, info in patch.apply(action, stored, change).image.hosted_image_info.items()}
        for action in patch.ACTIONS
    }
    assert sizes == {"merge": {"large": 9, "small": 2}, "remove": {"large": 9}, "overwrite": {"small": 2}}
