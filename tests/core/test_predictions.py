"""What the general model says: which concepts are kept, how they rank, and that labels stay labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from postil.core import base_workflow, predictions
from postil.core.predictions import PredictedConcept
from postil.embed.general import VERSION_ID, VOCABULARY
from postil.embed.picture import CLASSES
from postil.store.base import AppRecord, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.app_pb2 import App
from postil.v1.search_service_pb2 import MultiSearchResponse
from postil.v1.workflow_pb2 import Workflow
from support.search_world import World, ranked, showing

TABBY, TIGER_CAT, ESPRESSO = (VOCABULARY.by_name[name] for name in ("tabby", "tiger cat", "espresso"))
CAT, FELINE, ANIMAL = (VOCABULARY.by_id[name] for name in ("cat", "feline", "animal"))


def logits(**shares: float) -> NDArray[np.float32]:
    """Logits of a picture that shows the classes, by name, with these probabilities; the rest is spread evenly."""
    rest = (1.0 - sum(shares.values())) / (CLASSES - len(shares))
    probabilities = np.full(CLASSES, max(rest, 1e-9))
    for name, share in shares.items():
        probabilities[VOCABULARY.by_name[name.replace("_", " ")].number] = share
    result: NDArray[np.float32] = np.log(probabilities).astype(np.float32)
    return result


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data")
    yield made
    made.store.close()


def see(world: World, input_id: str, **shares: float) -> int:
    """An input, and what the model says of it; the row of its input-level annotation."""
    anchor = world.add(input_id, [1.0, 0.0])
    values = predictions.to_keep(logits(**shares))

    def run(tx: Transaction) -> None:
        found = tx.input(world.app.row, input_id)
        assert found is not None
        row = tx.reserve_annotations(1)[0]
        tx.add_predictions(
            world.app.row, [predictions.new_prediction(row, found.row, input_id, found.anchor, values, tx.now_us)]
        )

    world.store.write(run)
    return anchor


def scored(answer: MultiSearchResponse) -> list[tuple[str, float]]:
    return [(hit.input.id, round(hit.score, 3)) for hit in answer.hits]


# The vocabulary.


def test_a_class_is_everything_that_it_is_a_kind_of() -> None:
    assert TABBY.id == "n02123045"
    assert [VOCABULARY.concepts[number].id for number in TABBY.broader] == [
        "cat",
        "feline",
        "carnivore",
        "mammal",
        "animal",
    ]
    assert len(VOCABULARY.by_id) == len(VOCABULARY.by_name) == len(VOCABULARY.concepts)
    assert [concept.number for concept in VOCABULARY.concepts] == list(range(len(VOCABULARY.concepts)))
    dogs = [concept for concept in VOCABULARY.concepts[:CLASSES] if VOCABULARY.by_id["dog"].number in concept.broader]
    assert (len(dogs), dogs[0].name, dogs[-1].name) == (118, "Chihuahua", "Mexican hairless")


def test_a_broader_concept_has_the_probability_of_all_its_classes() -> None:
    probabilities = VOCABULARY.probabilities(logits(tabby=0.5, tiger_cat=0.25, espresso=0.2)[np.newaxis])[0]
    assert probabilities[:CLASSES].sum() == pytest.approx(1.0, abs=1e-5)
    assert probabilities[CAT.number] == pytest.approx(0.75, abs=1e-3)
    assert probabilities[FELINE.number] >= probabilities[CAT.number]
    assert probabilities.max() <= 1.0
    extreme = VOCABULARY.probabilities(np.array([[1e4] + [-1e4] * (CLASSES - 1)], np.float32))
    assert np.isfinite(extreme).all()


@pytest.mark.parametrize(("concept_id", "name"), [("cat", ""), ("", "Cat"), ("CAT", ""), ("", "cat")])
def test_a_concept_is_found_by_id_or_name(concept_id: str, name: str) -> None:
    assert VOCABULARY.find(concept_id, name) == CAT


def test_what_is_unknown_is_not_found() -> None:
    assert VOCABULARY.find("n02123045", "whatever") == TABBY
    assert VOCABULARY.find("no such thing", "cat") is None
    assert VOCABULARY.find("", "") is None


# What is kept.


def test_top_classes_are_kept_with_what_they_are_kinds_of() -> None:
    values = predictions.to_keep(logits(tabby=0.6, espresso=0.3, tiger_cat=0.0005))
    numbers = [number for number, _ in values]
    assert {TABBY.number, ESPRESSO.number, CAT.number, ANIMAL.number} <= set(numbers)
    assert TIGER_CAT.number not in numbers
    assert [value for _, value in values] == sorted((value for _, value in values), reverse=True)
    assert len([number for number in numbers if number < CLASSES]) <= predictions.TOP
    assert all(value >= predictions.LEAST for _, value in values)


def test_the_annotation_says_who_wrote_it() -> None:
    values = predictions.to_keep(logits(tabby=0.9))
    made = predictions.new_prediction(7, 3, "the input", 5, values, 1_700_000_000_000_000)
    message = Annotation.FromString(made.message)
    assert (message.id, message.input_id) == (made.id, "the input")
    assert not message.trusted
    assert message.worker.model.model_version.id == message.model_version_id == made.model_version_id == VERSION_ID
    assert message.status.code == 24150
    assert message.created_at.seconds == 1_700_000_000
    first = message.data.concepts[0]
    assert first.app_id == "main"
    assert {concept.id for concept in message.data.concepts} >= {"cat", "n02123045"}
    assert first.value == pytest.approx(values[0][1])


# Ranks.


def test_ranking_by_a_general_concept_orders_by_probability(world: World) -> None:
    see(world, "coffee", espresso=0.9)
    see(world, "maybe", tabby=0.3, espresso=0.5)
    see(world, "cat", tabby=0.5, tiger_cat=0.3)
    world.add("unseen", [0.0, 1.0])
    answer = scored(world.annotations(ranked(showing("cat"))))
    assert [name for name, _ in answer] == ["cat", "maybe", "coffee", "unseen"]
    assert [score for _, score in answer] == pytest.approx([0.8, 0.3, 0.0, 0.0], abs=0.005)
    assert scored(world.inputs(ranked(showing("n07920052"))))[0] == ("coffee", 0.9)
    assert [name for name, _ in scored(world.annotations(ranked(showing("cat"), min_value=0.2)))] == ["cat", "maybe"]


def test_a_flipped_rank_is_the_other_way_round(world: World) -> None:
    see(world, "cat", tabby=0.8)
    see(world, "coffee", espresso=0.9)
    answer = scored(world.annotations(ranked(showing("cat", 0.0))))
    assert [name for name, _ in answer] == ["coffee", "cat"]
    assert [score for _, score in answer] == pytest.approx([1.0, 0.2], abs=0.005)


def test_pages_cut_one_order(world: World) -> None:
    for number in range(25):
        see(world, f"i{number:02}", tabby=0.03 * number + 0.002) if number % 2 else world.add(
            f"i{number:02}", [1.0, 0.0]
        )
    whole = scored(world.annotations(ranked(showing("cat")), per_page=100))
    assert len(whole) == 25
    pages = [pair for page in range(1, 6) for pair in scored(world.annotations(ranked(showing("cat")), page, 7))]
    assert pages == whole


def test_labels_overrule_predictions(world: World) -> None:
    see(world, "looks like one", tabby=0.9)
    see(world, "labelled", espresso=0.9)
    world.region("labelled", labels={"cat": 1.0})
    world.region("looks like one", labels={"cat": 0.0})
    answer = [(name, score) for name, score in scored(world.inputs(ranked(showing("cat"))))]
    assert answer[0] == ("labelled", 1.0)
    by_annotation = [(hit.input.id, hit.score) for hit in world.annotations(ranked(showing("cat"))).hits]
    assert by_annotation[0] == ("labelled", 1.0)
    assert by_annotation[-1] == ("looks like one", 0.0)


def test_without_predictions_a_concept_is_what_is_labelled_with_it(world: World) -> None:
    world.add("labelled", [1.0, 0.0], {"cat": 1.0})
    world.add("near", [0.9, 0.1])
    world.add("far", [-1.0, 0.0])
    assert [name for name, _ in scored(world.annotations(ranked(showing("cat"))))] == ["labelled", "near", "far"]


def test_predictions_are_no_labels(world: World) -> None:
    see(world, "cat", tabby=0.9)
    queries = world.store.read()
    assert queries.list_concepts(world.app.row, "", 0, 100) == []
    assert queries.tally_concepts(world.app.row, 0, 100) == []
    assert [hit.annotation.worker.WhichOneof("worker") for hit in world.annotations(ranked(showing("cat"))).hits] == [
        None
    ]


def test_scores_of_any_anchors_are_looked_up_at_once(world: World) -> None:
    seen, other = see(world, "cat", tabby=0.5), see(world, "coffee", espresso=0.5)
    cat = PredictedConcept(world.store.read(), world.app.row, CAT)
    assert cat.scores(np.array([other, 10_000, seen, 0])).tolist() == pytest.approx([0.0, 0.0, 0.5, 0.0], abs=0.005)
    nothing = PredictedConcept(world.store.read(), world.app.row, VOCABULARY.by_id["owl"])
    assert nothing.scores(np.array([seen, other])).tolist() == [0.0, 0.0]


# The base workflow.


def record(**fields: object) -> AppRecord:
    return AppRecord(1, "me", "app", App(**fields).SerializeToString())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("", (True, True, True)),
        ("General", (True, True, True)),
        ("universal", (True, True, True)),
        ("Text", (False, False, True)),
        ("Empty", (False, False, False)),
    ],
)
def test_built_in_workflows_by_name(world: World, named: str, expected: tuple[bool, bool, bool]) -> None:
    for app in (record(default_workflow_id=named), record(default_workflow=Workflow(id=named))):
        assert base_workflow.of_app(world.store.read(), app)[1:] == expected
        assert base_workflow.refuses(app, "picture") == ("" if expected[0] else named)


def test_a_workflow_of_the_apps_own_counts_for_its_models(world: World) -> None:
    own = Workflow(id="mine")
    own.nodes.add(id="a").model.id = "general-text-embedding"
    app = record(default_workflow_id="mine")._replace(row=world.app.row)
    world.store.write(lambda tx: tx.add_named(world.app.row, base_workflow.KIND, "mine", "", own.SerializeToString()))
    assert base_workflow.of_app(world.store.read(), app) == ("mine", False, False, True)
    own.nodes.add(id="b").model.id = "general-image-recognition"
    assert base_workflow.of_workflow(own) == ("mine", True, True, True)
