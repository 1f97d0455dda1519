"""Ranking by a concept: what is labelled comes first, then what looks like it, then what is labelled as lacking it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.errors import Failure
from postil.store.base import ConceptName, RelationRecord, Transaction
from postil.v1.app_pb2 import App
from postil.v1.search_pb2 import Rank, Search
from postil.v1.status_code_pb2 import StatusCode
from support.search_world import World, ids, ranked, scores, showing


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data")
    yield made
    made.store.close()


@pytest.fixture
def pets(world: World) -> World:
    """Two labelled cats to the east, a labelled non-cat, and three unlabelled pictures."""
    world.add("behind", (-1.0, 0.0))
    world.add("tom", (1.0, 0.0), {"cat": 1})
    world.add("dog", (0.8, 0.6), {"cat": 0, "dog": 1})
    world.add("ahead", (0.96, 0.28))
    world.add("kitty", (0.8, -0.6), {"cat": 1})
    world.add("aside", (0.0, 1.0))
    return world


ORDER = ["tom", "kitty", "ahead", "aside", "behind", "dog"]


def test_labels_first_then_likeness_then_what_lacks_it(pets: World) -> None:
    answer = pets.annotations(ranked(showing("cat")))
    assert ids(answer) == ORDER
    mean = (0.9, -0.3)
    length = (0.81 + 0.09) ** 0.5
    likeness = [(1 + (x * mean[0] + y * mean[1]) / length) / 2 for x, y in ((0.96, 0.28), (0.0, 1.0), (-1.0, 0.0))]
    assert scores(answer) == pytest.approx([1.0, 1.0, *likeness, 0.0], abs=1e-5)


@pytest.mark.parametrize("rank", [showing("cat", 0), showing("cat", negate=True)])
def test_value_zero_or_negate_turns_the_order_round(pets: World, rank: Rank) -> None:
    answer = pets.annotations(ranked(rank))
    assert ids(answer) == ["dog", "behind", "aside", "ahead", "tom", "kitty"]
    forward = pets.annotations(ranked(showing("cat")))
    flipped = {hit.input.id: 1 - hit.score for hit in forward.hits}
    assert {hit.input.id: hit.score for hit in answer.hits} == pytest.approx(flipped, abs=1e-5)


def test_both_turn_it_back(pets: World) -> None:
    assert ids(pets.annotations(ranked(showing("cat", 0, negate=True)))) == ORDER


def test_pages_run_through_all_three_blocks(pets: World) -> None:
    for per_page in (1, 2, 4):
        pages = [pets.annotations(ranked(showing("cat")), page, per_page) for page in range(1, 7)]
        assert [name for page in pages for name in ids(page)] == ORDER


def test_a_page_of_labels_needs_no_neighbours(pets: World) -> None:
    assert ids(pets.annotations(ranked(showing("cat")), per_page=2)) == ["tom", "kitty"]
    assert pets.plans == []


def test_min_value_cuts_each_block(pets: World) -> None:
    assert ids(pets.annotations(ranked(showing("cat"), min_value=0.8))) == ["tom", "kitty", "ahead"]
    assert ids(pets.annotations(ranked(showing("cat"), min_value=1.0))) == ["tom", "kitty"]
    assert ids(pets.annotations(ranked(showing("cat", 0), min_value=0.9))) == ["dog", "behind"]


def test_one_hit_per_input_with_its_best_annotation(pets: World) -> None:
    pets.region("aside", None, {"cat": 1})
    answer = pets.inputs(ranked(showing("cat")))
    assert ids(answer) == ["tom", "kitty", "aside", "ahead", "behind", "dog"]
    assert answer.hits[2].annotation.data.concepts[0].id == "cat"


def test_labelled_without_a_vector_is_still_a_hit(world: World) -> None:
    world.add("unseen", None, {"cat": 1})
    world.add("other", (1.0, 0.0))
    assert ids(world.annotations(ranked(showing("cat")))) == ["unseen"]
    world.add("seen", (0.0, 1.0), {"cat": 1})
    assert ids(world.annotations(ranked(showing("cat")))) == ["unseen", "seen", "other"]


def test_likeness_is_measured_where_most_examples_have_vectors(world: World) -> None:
    world.add("a", (1.0, 0.0), {"cat": 1}, space="picture-version", kind="picture")
    for name in ("b", "c"):
        world.add(name, (1.0, 0.0, 0.0), {"cat": 1})
    world.add("picture", (1.0, 0.0), space="picture-version", kind="picture")
    world.add("vector", (1.0, 0.0, 0.0))
    assert ids(world.annotations(ranked(showing("cat")))) == ["a", "b", "c", "vector"]


def test_the_next_search_sees_a_label(pets: World) -> None:
    before = ids(pets.annotations(ranked(showing("cat"))))
    pets.region("behind", None, {"cat": 1})
    after = ids(pets.annotations(ranked(showing("cat"))))
    assert before.index("behind") == 4
    assert after.index("behind") == 2


def test_many_labels_do_not_crowd_out_likeness(world: World) -> None:
    for i in range(50):
        world.add(f"cat-{i}", (1.0, 0.001 * i), {"cat": 1})
    world.add("near", (1.0, 0.5))
    world.add("far", (-1.0, 0.5))
    assert ids(world.annotations(ranked(showing("cat")), page=6, per_page=10)) == ["near", "far"]


def test_by_name(pets: World) -> None:
    rank = Rank()
    rank.annotation.data.concepts.add(name="The cat", value=1)
    assert ids(pets.annotations(ranked(rank))) == ORDER
    rank.annotation.data.concepts[0].language = "en"
    assert ids(pets.annotations(ranked(rank))) == ORDER


def concept(**fields: str) -> Search:
    rank = Rank()
    rank.annotation.data.concepts.add(value=1, **fields)
    return ranked(rank)


@pytest.mark.parametrize(
    ("search", "named"),
    [
        (concept(id="bird"), "'bird'"),
        (concept(name="the cat"), "'the cat'"),
        (concept(name="The cat", language="l33t speak"), "'l33t speak'"),
        (concept(id="cat", app_id="elsewhere"), "'elsewhere'"),
        (concept(id="x" * 10_000), "'…"),
    ],
)
def test_concepts_that_are_not_there_are_refused_by_name(pets: World, search: Search, named: str) -> None:
    with pytest.raises(Failure) as failure:
        pets.annotations(search)
    assert failure.value.code == StatusCode.SEARCH_INVALID_REQUEST
    assert named in failure.value.details
    assert len(failure.value.details) < 500


def names(world: World, **by_language: str) -> None:
    """What "cat" is called elsewhere."""
    cat = world.store.read().concept(world.app.row, "cat")
    assert cat is not None

    def op(tx: Transaction) -> None:
        for language, name in by_language.items():
            tx.put_concept_name(world.app.row, ConceptName(cat.row, language, name, ""))

    world.store.write(op)


def test_a_name_in_another_language_finds_the_concept(pets: World) -> None:
    names(pets, ja="猫", de="Katze")
    assert ids(pets.annotations(concept(name="猫", language="ja"))) == ORDER
    of_query = concept(name="Katze")
    of_query.query.language = "de"
    assert ids(pets.annotations(of_query)) == ORDER
    of_query.query.language = "ja"
    with pytest.raises(Failure, match="'Katze'"):
        pets.annotations(of_query)
    of_query.query.ranks[0].annotation.data.concepts[0].language = "de"  # the more particular one counts
    assert ids(pets.annotations(of_query)) == ORDER


def test_a_concept_without_a_name_in_the_language_goes_by_its_own(pets: World) -> None:
    assert ids(pets.annotations(concept(name="The cat", language="fr"))) == ORDER
    names(pets, fr="Le chat")
    with pytest.raises(Failure, match="'The cat'"):
        pets.annotations(concept(name="The cat", language="fr"))


def test_an_id_needs_no_language(pets: World) -> None:
    search = concept(id="cat", language="fr")
    search.query.language = "not one"
    assert ids(pets.annotations(search)) == ORDER


def test_two_concepts_of_one_name_are_told_apart_by_id(pets: World) -> None:
    names(pets, ja="動物")
    other = pets.store.write(lambda tx: tx.ensure_concepts(pets.app.row, {"fox": ""}))["fox"]
    pets.store.write(lambda tx: tx.put_concept_name(pets.app.row, ConceptName(other.row, "ja", "動物", "")))
    with pytest.raises(Failure, match="2 concepts are named '動物'"):
        pets.annotations(concept(name="動物", language="ja"))


def related(world: World, *edges: tuple[str, str]) -> None:
    """Each first concept is a kind of the second."""

    def op(tx: Transaction) -> None:
        for kind, whole in edges:
            known = tx.ensure_concepts(world.app.row, {kind: "", whole: ""})
            edge = RelationRecord(0, f"{kind}-{whole}", known[kind].row, "hyponym", known[whole].row, "", b"")
            tx.add_relation(world.app.row, edge)

    world.store.write(op)


def test_kinds_of_a_concept_count_when_asked(world: World) -> None:
    world.add("beagle", (1.0, 0.0), {"dog": 1})
    world.add("siamese", (0.0, 1.0), {"siamese": 1})
    world.add("not-siamese", (0.6, 0.8), {"siamese": 0})
    world.add("stone", (-1.0, 0.0), {"animal": 0})
    related(world, ("dog", "animal"), ("cat", "animal"), ("siamese", "cat"), ("animal", "dog"))
    search = ranked(showing("animal"))
    with pytest.raises(Failure, match="nothing is labelled with the concept 'animal'"):
        world.annotations(search)
    search.query.expand_hyponyms = True
    answer = world.annotations(search)
    assert ids(answer) == ["beagle", "siamese", "not-siamese", "stone"]
    assert scores(answer)[:2] == [1.0, 1.0]
    assert 0.5 < scores(answer)[2] < 1.0
    assert scores(answer)[3] == 0.0


def test_a_concept_has_not_too_many_kinds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.core.hyponyms.MAX_CONCEPTS", 2)
    world.add("beagle", (1.0, 0.0), {"dog": 1})
    related(world, ("dog", "animal"))
    search = ranked(showing("animal"))
    search.query.expand_hyponyms = True
    assert ids(world.annotations(search)) == ["beagle"]
    related(world, ("cat", "animal"))
    with pytest.raises(Failure, match="more than 2 concepts are kinds of what it names") as failure:
        world.annotations(search)
    assert failure.value.code == StatusCode.SEARCH_INVALID_REQUEST


def test_the_apps_own_language_is_taken(pets: World) -> None:
    pets.store.write(lambda tx: tx.update_app(pets.app.row, App(default_language="de").SerializeToString()))
    german = pets.store.read().app("me", "photos")
    search = concept(id="cat", language="de")
    assert ids(pets.annotations(search, app=german)) == ORDER


def test_an_unlabelled_concept_says_how_to_label(world: World) -> None:
    world.add("not-a-cat", (1.0, 0.0), {"cat": 0})
    with pytest.raises(Failure, match="nothing is labelled with the concept 'cat' yet; post an annotation"):
        world.annotations(ranked(showing("cat")))
