"""Annotations through a real server, under both service names: post, get, list, patch, delete, workers."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import (
    DeleteAnnotationRequest,
    DeleteAnnotationsRequest,
    GetAnnotationRequest,
    ListAnnotationsRequest,
    ListAnnotationWorkersRequest,
    PatchAnnotationsRequest,
    PostAnnotationsRequest,
)
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import ListConceptsRequest, PatchConceptsRequest
from postil.v1.data_pb2 import BoundingBox, Data, Embedding, Frame, Point, Polygon, Region, RegionInfo
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import GetInputRequest, PostInputsRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostAnnotationsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode

Call = Callable[..., Any]
CAT = "cat"


@pytest.fixture
def cat(call: Call, app: UserAppIDSet, photos: dict[str, bytes]) -> str:
    """An input with a picture."""
    item = Input(id=CAT, data=Data())
    item.data.image.base64 = photos["cat"]
    assert call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[item])).status.code == StatusCode.SUCCESS
    deadline = time.monotonic() + 60  # on a busy machine it may have been accepted as pending
    asked = GetInputRequest(user_app_id=app, input_id=CAT)
    while call("GetInput", asked).input.status.code != StatusCode.INPUT_SUCCESS:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return CAT


def tree(**fields: Any) -> Annotation:
    return Annotation(input_id=CAT, data=Data(concepts=[Concept(id="tree", value=1)]), **fields)


def boxed(top: float, left: float, bottom: float, right: float, *concepts: Concept, **fields: Any) -> Annotation:
    box = BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right)
    region = Region(region_info=RegionInfo(bounding_box=box), data=Data(concepts=concepts))
    return Annotation(input_id=CAT, data=Data(regions=[region]), **fields)


def post(call: Call, app: UserAppIDSet, *annotations: Annotation) -> Any:
    return call("PostAnnotations", PostAnnotationsRequest(user_app_id=app, annotations=annotations))


def patch(call: Call, app: UserAppIDSet, action: str, *annotations: Annotation, **fields: Any) -> Any:
    request = PatchAnnotationsRequest(user_app_id=app, annotations=annotations, action=action, **fields)
    return call("PatchAnnotations", request)


def listed(call: Call, app: UserAppIDSet, **fields: Any) -> list[Annotation]:
    answer = call("ListAnnotations", ListAnnotationsRequest(user_app_id=app, **fields))
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    return list(answer.annotations)


def test_a_refused_annotation_leaves_no_concept(call: Call, app: UserAppIDSet, cat: str) -> None:
    lost = Annotation(input_id="nowhere", data=Data(concepts=[Concept(id="ghost", value=1)]))
    answer = post(call, app, lost, tree())
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert [one.status.code for one in answer.annotations] == [
        StatusCode.ANNOTATION_INVALID_ARGUMENT,
        StatusCode.ANNOTATION_SUCCESS,
    ]
    concepts = call("ListConcepts", ListConceptsRequest(user_app_id=app)).concepts
    assert "ghost" not in {concept.id for concept in concepts}
    assert "tree" in {concept.id for concept in concepts}


def test_a_label_says_the_name_that_its_concept_has_by_now(call: Call, app: UserAppIDSet, cat: str) -> None:
    for name in ("tree", "Baum", "arbre"):  # the first is what it is called by default
        if name != "tree":
            renamed = PatchConceptsRequest(
                user_app_id=app, concepts=[Concept(id="tree", name=name)], action="overwrite"
            )
            assert call("PatchConcepts", renamed).status.code == StatusCode.SUCCESS
        for _ in range(2):
            answer = post(call, app, tree())
            assert answer.status.code == StatusCode.SUCCESS, answer.status
            assert answer.annotations[0].data.concepts[0].name == name


def test_labels_are_kept_with_names_author_and_times(call: Call, app: UserAppIDSet, cat: str) -> None:
    concepts = [Concept(id="tree", value=1), Concept(id="water", value=0)]
    answer = post(call, app, Annotation(input_id=cat, data=Data(concepts=concepts)))
    assert answer.status.code == StatusCode.SUCCESS
    stored = answer.annotations[0]
    assert len(stored.id) == 32
    assert stored.status.code == StatusCode.ANNOTATION_SUCCESS
    assert [(c.id, c.name, c.value) for c in stored.data.concepts] == [("tree", "tree", 1), ("water", "water", 0)]
    assert stored.worker.user.id == stored.user_id == "postil"
    assert stored.trusted
    assert stored.created_at.ToMicroseconds() > 0
    request = GetAnnotationRequest(user_app_id=app, input_id=cat, annotation_id=stored.id)
    assert call("GetAnnotation", request).annotation == stored


@pytest.mark.parametrize("count", [0, 129])
def test_one_to_128_items(call: Call, app: UserAppIDSet, cat: str, count: int) -> None:
    answer = post(call, app, *[tree() for _ in range(count)])
    assert answer.status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT
    assert "1 to 128" in answer.status.details


def test_bad_items_name_themselves_and_good_ones_are_kept(call: Call, app: UserAppIDSet, cat: str) -> None:
    two = boxed(0, 0, 0.5, 0.5)
    two.data.regions.append(two.data.regions[0])
    items = [
        tree(),
        two,
        boxed(0.1, 0.1, 1.5, 0.9),
        boxed(0.9, 0.1, 0.5, 0.9),
        Annotation(input_id="nobody", data=Data(concepts=[Concept(id="x", value=1)])),
        tree(embed_model_version_id="unknown"),
        tree(id="a/b"),
        Annotation(input_id=cat, data=Data(concepts=[Concept(id="c", value=float("nan"))])),
        Annotation(input_id=cat, data=Data(embeddings=[Embedding(vector=[1.0, float("inf")])])),
        boxed(0.1, 0.1, float("nan"), 0.9),
        Annotation(data=Data(concepts=[Concept(id="x", value=1)])),
        Annotation(input_id=cat, data=Data(frames=[Frame(), Frame()])),
    ]
    answer = post(call, app, *items)
    assert answer.status.code == StatusCode.MIXED_STATUS
    assert answer.annotations[0].status.code == StatusCode.ANNOTATION_SUCCESS
    for position, item in enumerate(answer.annotations[1:], start=1):
        assert item.status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT, item.status
        assert f"annotations[{position}]" in item.status.details
    assert len(listed(call, app)) == 1


def test_an_id_is_taken_once(call: Call, app: UserAppIDSet, cat: str) -> None:
    answer = post(call, app, tree(id="mine"), tree(id="mine"))
    assert [item.status.code for item in answer.annotations] == [
        StatusCode.ANNOTATION_SUCCESS,
        StatusCode.DATABASE_DUPLICATE_KEY,
    ]
    again = post(call, app, tree(id="mine"))
    assert again.status.code == StatusCode.FAILURE
    assert len(listed(call, app)) == 1


def test_a_region_is_searchable_by_its_crop(call: Call, app: UserAppIDSet, cat: str, photos: dict[str, bytes]) -> None:
    answer = post(call, app, boxed(0.1, 0.25, 0.75, 0.75, Concept(id="face", value=1)))
    region = answer.annotations[0].data.regions[0]
    assert len(region.id) == 32
    with Image.open(io.BytesIO(photos["cat"])) as picture:
        out = io.BytesIO()
        picture.convert("RGB").crop((112, 30, 339, 225)).save(out, "PNG")
    rank = Rank(annotation=Annotation(data=Data()))
    rank.annotation.data.image.base64 = out.getvalue()
    search = PostAnnotationsSearchesRequest(user_app_id=app, searches=[Search(query=Query(ranks=[rank]))])
    hits = call("PostAnnotationsSearches", search).hits
    assert hits[0].annotation.id == answer.annotations[0].id
    assert hits[0].score > 0.95
    assert hits[0].annotation.data.regions[0].region_info.bounding_box.top_row == pytest.approx(0.1)
    assert len(hits) == 2, "the region, and the whole picture"


def test_an_existing_region_is_named_by_its_id(call: Call, app: UserAppIDSet, cat: str) -> None:
    first = post(call, app, boxed(0, 0, 0.5, 0.5)).annotations[0]
    region = Region(id=first.data.regions[0].id, data=Data(concepts=[Concept(id="ear", value=1)]))
    second = post(call, app, Annotation(input_id=cat, data=Data(regions=[region]))).annotations[0]
    assert second.data.regions[0].region_info == first.data.regions[0].region_info
    unknown = Annotation(input_id=cat, data=Data(regions=[Region(id="unknown")]))
    assert post(call, app, unknown).annotations[0].status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT


def test_polygons_points_and_masks(call: Call, app: UserAppIDSet, cat: str) -> None:
    corners = [Point(row=0.1, col=0.1), Point(row=0.1, col=0.6), Point(row=0.8, col=0.4)]
    painted = Image.new("L", (100, 80))
    painted.paste(255, (10, 20, 50, 60))
    png = io.BytesIO()
    painted.save(png, "PNG")
    shapes = [RegionInfo(polygon=Polygon(points=corners)), RegionInfo(point=corners[0]), RegionInfo()]
    shapes[2].mask.image.base64 = png.getvalue()
    answer = post(call, app, *[Annotation(input_id=cat, data=Data(regions=[Region(region_info=s)])) for s in shapes])
    assert answer.status.code == StatusCode.SUCCESS, answer.status
    mask = answer.annotations[2].data.regions[0].region_info.mask.image
    assert "/blobs/" in mask.url
    assert not mask.base64
    flat = RegionInfo(polygon=Polygon(points=corners[:2]))
    black = RegionInfo()
    png = io.BytesIO()
    Image.new("L", (10, 10)).save(png, "PNG")
    black.mask.image.base64 = png.getvalue()
    bad = post(
        call, app, *[Annotation(input_id=cat, data=Data(regions=[Region(region_info=s)])) for s in (flat, black)]
    )
    assert [item.status.code for item in bad.annotations] == [StatusCode.ANNOTATION_INVALID_ARGUMENT] * 2


def test_spans_of_text_have_their_own_vector(call: Call, app: UserAppIDSet) -> None:
    item = Input(id="note", data=Data())
    item.data.text.raw = "The rocket lifted off. The kitten sleeps."
    call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[item]))
    region = Region(region_info=RegionInfo())
    region.region_info.span.char_start, region.region_info.span.char_end = 23, 41
    answer = post(call, app, Annotation(input_id="note", data=Data(regions=[region])))
    assert answer.status.code == StatusCode.SUCCESS, answer.annotations[0].status
    rank = Rank(annotation=Annotation(data=Data()))
    rank.annotation.data.text.raw = "The kitten sleeps."
    search = PostAnnotationsSearchesRequest(user_app_id=app, searches=[Search(query=Query(ranks=[rank]))])
    best = call("PostAnnotationsSearches", search).hits[0]
    assert best.annotation.id == answer.annotations[0].id
    assert best.score == pytest.approx(1.0, abs=1e-5)


def test_lists_in_order_without_blank_input_level_ones(call: Call, app: UserAppIDSet, cat: str) -> None:
    made = [post(call, app, tree()).annotations[0].id for _ in range(5)]
    assert [one.id for one in listed(call, app)] == made
    assert [one.id for one in listed(call, app, page=2, per_page=2)] == made[2:4]
    assert [one.id for one in listed(call, app, ids=made[3:4], input_ids=[cat])] == made[3:4]
    assert listed(call, app, input_ids=["nobody"]) == []
    uneven = call("ListAnnotations", ListAnnotationsRequest(user_app_id=app, ids=made[:2], input_ids=[cat]))
    assert uneven.status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT


def test_what_a_model_wrote_is_untrusted_and_listed_when_asked(call: Call, app: UserAppIDSet, cat: str) -> None:
    by_model = tree()
    by_model.worker.model.model_version.id = "v1"
    post(call, app, by_model, tree())
    assert len(listed(call, app)) == 1
    # the third is what the general model says of the picture
    assert len(listed(call, app, list_all_annotations=True)) == 3
    assert len(listed(call, app, model_version_ids=["v1"])) == 1
    workers = call("ListAnnotationWorkers", ListAnnotationWorkersRequest(user_app_id=app)).workers
    assert {worker.WhichOneof("worker") for worker in workers} == {"user", "model"}
    trusted = call("ListAnnotationWorkers", ListAnnotationWorkersRequest(user_app_id=app, trusted_only=True)).workers
    assert [worker.user.id for worker in trusted] == ["postil"]


def test_status_can_be_set_and_listed_by(call: Call, app: UserAppIDSet, cat: str) -> None:
    pending = tree()
    pending.status.code = StatusCode.ANNOTATION_PENDING
    wrong = tree()
    wrong.status.code = StatusCode.SUCCESS
    answer = post(call, app, pending, tree(), wrong)
    assert [item.status.code for item in answer.annotations] == [
        StatusCode.ANNOTATION_PENDING,
        StatusCode.ANNOTATION_SUCCESS,
        StatusCode.ANNOTATION_INVALID_ARGUMENT,
    ]
    request = ListAnnotationsRequest(user_app_id=app)
    request.statuses.add(code=StatusCode.ANNOTATION_PENDING)
    assert [one.id for one in call("ListAnnotations", request).annotations] == [answer.annotations[0].id]


def test_patch_labels(call: Call, app: UserAppIDSet, cat: str) -> None:
    mine = post(call, app, tree(id="mine")).annotations[0]
    more = Annotation(id="mine", input_id=cat, data=Data(concepts=[Concept(id="sky", value=1)]))
    merged = patch(call, app, "merge", more)
    assert merged.status.code == StatusCode.SUCCESS
    assert [concept.id for concept in merged.annotations[0].data.concepts] == ["tree", "sky"]
    assert merged.annotations[0].created_at == mine.created_at
    assert merged.annotations[0].modified_at.ToMicroseconds() > mine.modified_at.ToMicroseconds()
    assert [c.id for c in patch(call, app, "remove", tree(id="mine")).annotations[0].data.concepts] == ["sky"]
    assert [c.id for c in patch(call, app, "overwrite", tree(id="mine")).annotations[0].data.concepts] == ["tree"]
    assert listed(call, app)[0].data.concepts[0].id == "tree"


def test_a_merged_box_moves_the_one_region(call: Call, app: UserAppIDSet, cat: str) -> None:
    made = post(call, app, boxed(0, 0, 0.5, 0.5, id="box")).annotations[0]
    moved = patch(call, app, "merge", boxed(0.2, 0.2, 0.9, 0.9, id="box")).annotations[0]
    assert len(moved.data.regions) == 1
    assert moved.data.regions[0].id == made.data.regions[0].id
    assert moved.data.regions[0].region_info.bounding_box.bottom_row == pytest.approx(0.9)
    inside_out = patch(call, app, "merge", boxed(0.9, 0.2, 0.1, 0.9, id="box"))
    assert inside_out.annotations[0].status.code == StatusCode.ANNOTATION_INVALID_ARGUMENT
    assert listed(call, app)[0].data.regions[0].region_info == moved.data.regions[0].region_info


def test_patching_the_input_level_annotation_patches_the_input(call: Call, app: UserAppIDSet, cat: str) -> None:
    labelled = Input(id="v", data=Data(embeddings=[Embedding(vector=[1.0, 0.0])], concepts=[Concept(id="a", value=1)]))
    call("PostInputs", PostInputsRequest(user_app_id=app, inputs=[labelled]))
    level = listed(call, app, input_ids=["v"])[0]
    assert level.input_level
    change = Annotation(id=level.id, input_id="v", data=Data(concepts=[Concept(id="b", value=1)]))
    assert patch(call, app, "merge", change).status.code == StatusCode.SUCCESS
    stored = call("GetInput", GetInputRequest(user_app_id=app, input_id="v")).input
    assert [concept.id for concept in stored.data.concepts] == ["a", "b"]


def test_patch_of_what_is_not_there(call: Call, app: UserAppIDSet, cat: str) -> None:
    answer = patch(call, app, "merge", tree(id="nobody"))
    assert answer.annotations[0].status.code == StatusCode.CONN_DOES_NOT_EXIST
    assert patch(call, app, "change", tree(id="nobody")).status.code == StatusCode.CONN_INVALID_REQUEST


def test_remove_may_delete_what_it_empties(call: Call, app: UserAppIDSet, cat: str) -> None:
    post(call, app, tree(id="mine"))
    patch(call, app, "remove", tree(id="mine"), delete_if_empty_data=True)
    assert listed(call, app) == []


def test_delete_one_many_and_all_of_an_input(call: Call, app: UserAppIDSet, cat: str) -> None:
    made = [post(call, app, tree()).annotations[0].id for _ in range(4)]
    one = DeleteAnnotationRequest(user_app_id=app, input_id=cat, annotation_id=made[0])
    for _ in range(2):
        assert call("DeleteAnnotation", one).status.code == StatusCode.SUCCESS
    many = DeleteAnnotationsRequest(user_app_id=app, ids=[made[1], "nobody"], input_ids=[cat, cat])
    assert call("DeleteAnnotations", many).status.code == StatusCode.SUCCESS
    assert [one.id for one in listed(call, app)] == made[2:]
    assert call("DeleteAnnotations", DeleteAnnotationsRequest(user_app_id=app)).status.code == 24155
    assert call("DeleteAnnotations", DeleteAnnotationsRequest(user_app_id=app, input_ids=[cat])).status.code == 10000
    assert listed(call, app) == []
    assert call("GetInput", GetInputRequest(user_app_id=app, input_id=cat)).status.code == StatusCode.SUCCESS
