"""Concepts against a real store: posting, finding, renaming, counting."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.core import concept_names
from postil.core.concepts import Concepts, concept_message, new_concept_message
from postil.errors import Failure
from postil.store.base import AppRecord, ConceptName, ConceptRecord, Store
from postil.v1.annotation_pb2 import Annotation
from postil.v1.common_pb2 import Pagination, UserAppIDSet, Visibility
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import (
    ConceptExtraInfoRequest,
    ConceptQuery,
    GetConceptCountsRequest,
    GetConceptRequest,
    ListConceptsRequest,
    PatchConceptsRequest,
    PostConceptsRequest,
    PostConceptsSearchesRequest,
)
from postil.v1.data_pb2 import Data, Region
from postil.v1.image_pb2 import Image
from postil.v1.input_pb2 import Input
from postil.v1.model_pb2 import Model
from postil.v1.status_code_pb2 import StatusCode
from support import nouns


class World:
    """One app and the verbs on it, each with the least that must be said."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.app: AppRecord = nouns.app(store)
        self.call = nouns.call(self.app)
        self.concepts = Concepts(store)

    def post(self, *wanted: Concept | str) -> list[Concept]:
        items = [Concept(id=one) if isinstance(one, str) else one for one in wanted]
        response = self.concepts.post(self.call, PostConceptsRequest(concepts=items))
        assert response.status.code == StatusCode.SUCCESS
        return list(response.concepts)

    def get(self, concept_id: str) -> Concept:
        return self.concepts.get(self.call, GetConceptRequest(concept_id=concept_id)).concept

    def listed(self, like: str = "", page: int = 0, per_page: int = 0) -> list[str]:
        request = ListConceptsRequest(id=like, page=page, per_page=per_page)
        return [concept.id for concept in self.concepts.list(self.call, request).concepts]

    def patch(self, *changes: Concept, action: str = "overwrite") -> list[Concept]:
        request = PatchConceptsRequest(concepts=changes, action=action)
        return list(self.concepts.patch(self.call, request).concepts)

    def search(self, name: str, pagination: Pagination | None = None) -> list[str]:
        query = PostConceptsSearchesRequest(concept_query=ConceptQuery(name=name), pagination=pagination)
        return [concept.name for concept in self.concepts.search(self.call, query).concepts]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with nouns.opened(tmp_path / "data") as store:
        yield World(store)


# Post and get.


def test_a_posted_concept_comes_back_whole(world: World) -> None:
    (posted,) = world.post(Concept(id="dog", name="的な dog", definition="a mammal", value=0.2, language="zh"))
    assert (posted.id, posted.name, posted.definition, posted.value) == ("dog", "的な dog", "a mammal", 1.0)
    assert (posted.language, posted.app_id, posted.user_id) == ("en", "main", "postil")
    assert posted.created_at.seconds > 1_700_000_000
    assert world.get("dog") == posted


def test_the_name_defaults_to_the_id(world: World) -> None:
    (posted,) = world.post("狗 dog")
    assert posted.name == posted.id == "狗 dog"


def test_a_duplicate_fails_the_whole_call_and_is_named(world: World) -> None:
    world.post("a", "b")
    with pytest.raises(Failure) as caught:
        world.post("c", "b", "d")
    assert caught.value.code == StatusCode.CONCEPTS_INVALID_REQUEST
    assert "duplicate" in caught.value.details.lower()
    assert "concepts[1] 'b'" in caught.value.details
    assert world.listed() == ["a", "b"]


def test_many_duplicates_are_counted_not_listed(world: World) -> None:
    names = [f"concept-{number:03}" for number in range(200)]
    world.post(*names)
    with pytest.raises(Failure, match="and 195 more") as caught:
        world.post(*names)
    assert len(caught.value.details) < 500


def test_an_id_may_come_once_in_a_call(world: World) -> None:
    with pytest.raises(Failure) as caught:
        world.post("a", "b", "a")
    assert caught.value.code == StatusCode.CONCEPTS_INVALID_REQUEST
    assert "concepts[2]: duplicate id 'a', also in concepts[0]" in caught.value.details
    assert world.listed() == []


@pytest.mark.parametrize("concept_id", ["", "a/b", "x" * 49, "a\nb"])
def test_bad_ids(world: World, concept_id: str) -> None:
    with pytest.raises(Failure) as caught:
        world.post("fine", concept_id)
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST
    assert "concepts[1]: the concept id" in caught.value.details
    assert world.listed() == []


@pytest.mark.parametrize(
    "bad",
    [
        Concept(id="a", name="n" * 257),
        Concept(id="a", image=Image(base64=b"x")),
        Concept(id="a", visibility=Visibility(gettable=Visibility.PUBLIC)),
    ],
)
def test_what_cannot_be_kept_is_refused(world: World, bad: Concept) -> None:
    with pytest.raises(Failure, match=r"concepts\[0\]") as caught:
        world.post(bad)
    assert caught.value.code == StatusCode.CONCEPTS_INVALID_REQUEST


@pytest.mark.parametrize("count", [0, 1001])
def test_the_number_of_items_is_limited(world: World, count: int) -> None:
    with pytest.raises(Failure, match=f"holds {count} items; send 1 to 1000") as caught:
        world.post(*[f"c{number}" for number in range(count)])
    assert caught.value.code == StatusCode.CONCEPTS_INVALID_REQUEST


def test_a_missing_concept_does_not_exist(world: World) -> None:
    with pytest.raises(Failure) as caught:
        world.get("nobody")
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
    assert "'nobody'" in caught.value.details


def test_apps_are_walls(world: World) -> None:
    world.post("a")
    world.call = nouns.call(nouns.app(world.store, "other"))
    assert world.listed() == []
    with pytest.raises(Failure, match="does not exist in app 'other'"):
        world.get("a")
    with pytest.raises(Failure, match="does not exist in app 'other'"):
        world.patch(Concept(id="a", name="mine"))
    (mine,) = world.post("a")
    assert mine.app_id == "other"


def test_the_public_app_has_no_concepts_of_its_own(world: World) -> None:
    call = nouns.call(None, "clarifai", public=True)
    with pytest.raises(Failure) as caught:
        world.concepts.list(call, ListConceptsRequest(user_app_id=UserAppIDSet(user_id="clarifai", app_id="main")))
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST


def test_a_row_without_a_message_is_filled_in(world: World) -> None:
    assert concept_message(world.app, ConceptRecord(1, "a", "Name", b"")) == Concept(
        id="a", name="Name", value=1.0, language="en", app_id="main", user_id="postil"
    )


def test_the_message_of_a_new_concept() -> None:
    made = Concept.FromString(new_concept_message(AppRecord(1, "u", "a", b""), "dog", "", 1_000_000))
    assert (made.id, made.name, made.value, made.user_id, made.created_at.seconds) == ("dog", "dog", 1.0, "u", 1)


def test_a_concept_made_by_a_label_reads_like_a_posted_one(world: World) -> None:
    nouns.add_input(world.store, world.app, "i", {"dog": 1.0})
    made = world.get("dog")
    assert (made.name, made.value, made.language, made.app_id, made.user_id) == ("dog", 1.0, "en", "main", "postil")
    assert made.created_at.seconds > 1_700_000_000


# List and search.


def test_the_list_is_in_order_of_creation_and_paged(world: World) -> None:
    world.post("c", "a", "b")
    assert world.listed() == ["c", "a", "b"]
    assert world.listed(page=2, per_page=2) == ["b"]
    assert world.listed(page=3, per_page=2) == []


def test_the_list_finds_part_of_an_id_or_name(world: World) -> None:
    world.post(Concept(id="x1", name="Hot Dog"), "catalog", "dogfish", "bird")
    assert world.listed("DOG") == ["x1", "dogfish"]
    assert world.listed("log") == ["catalog"]
    assert world.listed("100%") == []


def test_searching_with_wildcards(world: World) -> None:
    world.post("dog", "dogfish", "hotdog", Concept(id="x", name="Dogma"), "bird")
    assert world.search("dog*") == ["Dogma", "dog", "dogfish"]
    assert world.search("*dog") == ["dog", "hotdog"]
    assert world.search("d*g") == ["dog"]
    assert world.search("dog") == ["dog"]
    assert len(world.search("")) == len(world.search("*")) == 5
    assert world.search("d_g") == []
    assert world.search("*", Pagination(page=2, per_page=3)) == ["dogfish", "hotdog"]


def test_searching_in_another_language_gives_names_in_it(world: World) -> None:
    world.post(Concept(id="d", name="dog", definition="a pet"), "fox")
    dog = world.store.read().concept(world.app.row, "d")
    assert dog is not None
    world.store.write(lambda tx: tx.put_concept_name(world.app.row, ConceptName(dog.row, "ja", "犬", "")))

    def found(name: str, language: str) -> list[tuple[str, str, str, str]]:
        query = PostConceptsSearchesRequest(concept_query=ConceptQuery(name=name, language=language))
        concepts = world.concepts.search(world.call, query).concepts
        return [(one.id, one.name, one.language, one.definition) for one in concepts]

    assert found("犬", "ja") == [("d", "犬", "ja", "a pet")]
    assert found("*", "ja") == [("fox", "fox", "en", ""), ("d", "犬", "ja", "a pet")]
    assert found("dog", "ja") == []
    assert found("dog", "zh") == found("dog", "en") == [("d", "dog", "en", "a pet")]


def test_ignoring_the_concepts_of_the_app_leaves_none(world: World) -> None:
    world.post("dog")
    query = PostConceptsSearchesRequest(concept_query=ConceptQuery(name="dog", ignore_app_concepts=True))
    assert not world.concepts.search(world.call, query).concepts


@pytest.mark.parametrize(
    "request_",
    [
        PostConceptsSearchesRequest(concept_query=ConceptQuery(name="n" * 257)),
        PostConceptsSearchesRequest(concept_query=ConceptQuery(model=Model(id="m"))),
        PostConceptsSearchesRequest(concept_query=ConceptQuery(workflow_id="w")),
        PostConceptsSearchesRequest(concept_query=ConceptQuery(language="japanese!")),
        PostConceptsSearchesRequest(extra_info=ConceptExtraInfoRequest()),
    ],
)
def test_parts_of_a_query_that_would_change_the_answer_are_refused(
    world: World, request_: PostConceptsSearchesRequest
) -> None:
    with pytest.raises(Failure) as caught:
        world.concepts.search(world.call, request_)
    assert caught.value.code == StatusCode.CONCEPTS_INVALID_REQUEST


# Patch.


def test_overwrite_changes_what_is_sent(world: World) -> None:
    (posted,) = world.post(Concept(id="dog", name="Dog", definition="old"))
    (patched,) = world.patch(Concept(id="dog", definition="new", value=0.3, app_id="elsewhere"))
    assert (patched.name, patched.definition, patched.value, patched.app_id) == ("Dog", "new", 1.0, "main")
    assert patched.created_at == posted.created_at
    assert world.get("dog") == patched


@pytest.mark.parametrize("action", ["merge", "remove", "rename"])
def test_only_overwrite(world: World, action: str) -> None:
    world.post("dog")
    with pytest.raises(Failure, match="only overwrite") as caught:
        world.patch(Concept(id="dog", name="x"), action=action)
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST


def test_a_missing_concept_fails_the_whole_patch(world: World) -> None:
    world.post("a")
    with pytest.raises(Failure) as caught:
        world.patch(Concept(id="a", name="changed"), Concept(id="ai_98Xb0K3q", name="x"))
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
    assert "concepts[1]" in caught.value.details
    assert world.get("a").name == "a"


def test_a_new_name_is_found_and_the_old_one_is_not(world: World) -> None:
    world.post("dog")
    world.patch(Concept(id="dog", name="Canine"))
    assert world.search("canine") == ["Canine"]
    assert world.search("dog") == []
    assert [one.id for one in world.store.read().concepts_by_name(world.app.row, "Canine")] == ["dog"]


def test_a_new_name_is_carried_into_annotations_and_inputs(world: World) -> None:
    region = Data(regions=[Region(id="r", data=nouns.labelled({"dog": 1.0, "cat": 0.0}))])
    nouns.add_input(world.store, world.app, "one", {"dog": 1.0, "bird": 0.0}, region, nouns.labelled({"cat": 1.0}))
    nouns.add_input(world.store, world.app, "two", {"cat": 1.0})
    world.patch(Concept(id="dog", name="Canine"))
    queries = world.store.read()
    record = queries.input(world.app.row, "one")
    assert record is not None
    assert [one.name for one in Input.FromString(record.message).data.concepts] == ["Canine", "bird"]
    messages = [Annotation.FromString(one.message) for one in queries.annotations_of_inputs([record.row])]
    assert [one.name for one in messages[0].data.concepts] == ["Canine", "bird"]
    assert [one.name for one in messages[1].data.regions[0].data.concepts] == ["Canine", "cat"]
    assert [one.name for one in messages[2].data.concepts] == ["cat"]
    dog = queries.concept(world.app.row, "dog")
    assert dog is not None
    assert [value for _, _, value in queries.labelled(world.app.row, dog.row)] == [1.0, 1.0]


def test_a_rename_reaches_every_label_however_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.core.concept_names.PIECE", 3)
    for number in range(10):
        nouns.add_input(world.store, world.app, f"i{number}", {"dog": 1.0, "cat": 1.0})
    before = world.store.committed
    world.patch(Concept(id="dog", name="Canine"), Concept(id="cat", name="Feline"))
    assert world.store.committed - before >= 7, "so many ops, others in between"
    assert _shown_names(world) == {("Canine", "Feline")}
    assert world.store.read().renames(1) == []


def _shown_names(world: World) -> set[tuple[str, ...]]:
    records = world.store.read().list_inputs(world.app.row, [], [], 0, 100)
    return {tuple(sorted(one.name for one in Input.FromString(record.message).data.concepts)) for record in records}


def test_a_rename_that_broke_off_is_ended_by_whoever_comes_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a crash: the rows say how far it came, and a newer name wins."""
    monkeypatch.setattr("postil.core.concept_names.PIECE", 3)
    for number in range(10):
        nouns.add_input(world.store, world.app, f"i{number}", {"dog": 1.0})

    def killed(_: Store) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("postil.core.concept_names.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            world.patch(Concept(id="dog", name="Canine"))
    assert _shown_names(world) == {("Canine",), ("dog",)}
    nouns.add_input(world.store, world.app, "late", {"dog": 1.0})
    concept_names.finish(world.store)
    assert _shown_names(world) == {("Canine",)}
    with monkeypatch.context() as patched:
        patched.setattr("postil.core.concept_names.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            world.patch(Concept(id="dog", name="Hound"))
    world.patch(Concept(id="dog", name="Wolf"))
    assert _shown_names(world) == {("Wolf",)}


# Counts.


def test_counts_by_sign_and_by_the_state_of_the_input(world: World) -> None:
    world.post("unused")
    nouns.add_input(world.store, world.app, "done", {"dog": 1.0, "cat": 0.0}, nouns.labelled({"dog": 1.0}))
    nouns.add_input(world.store, world.app, "waiting", {"dog": 1.0}, status=StatusCode.INPUT_PENDING)
    nouns.add_input(world.store, world.app, "working", {"dog": 0.0}, status=StatusCode.INPUT_IN_PROGRESS)
    nouns.add_input(world.store, world.app, "failed", {"dog": 1.0}, status=StatusCode.INPUT_FAILED)
    nouns.add_input(world.store, world.app, "bad-url", {"dog": 1.0}, status=StatusCode.INPUT_INVALID_URL)
    response = world.concepts.counts(world.call, GetConceptCountsRequest())
    counts = {one.id: one for one in response.concept_counts}
    assert list(counts) == ["unused", "dog", "cat"]
    dog = counts["dog"]
    assert (dog.concept_type_count.positive, dog.concept_type_count.negative) == (5, 1)
    detail = dog.detail_concept_count
    assert (detail.processed.positive, detail.to_process.positive, detail.errors.positive) == (2, 1, 2)
    assert (detail.processing.positive, detail.processing.negative) == (0, 1)
    assert (counts["cat"].concept_type_count.negative, counts["unused"].concept_type_count.positive) == (1, 0)
    assert counts["unused"].detail_concept_count.HasField("errors")


def test_counts_are_paged(world: World) -> None:
    world.post("a", "b", "c")
    response = world.concepts.counts(world.call, GetConceptCountsRequest(page=2, per_page=2))
    assert [one.name for one in response.concept_counts] == ["c"]
