"""What every store must do with concept names in other languages and with relations between concepts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postil.store.base import ConceptName, Duplicate, Missing, RelationRecord, Store, Transaction
from support.stores import Filler


@pytest.fixture
def animals(fill: Filler) -> dict[str, int]:
    """An app with concepts; "app" is its row."""
    app = fill.app()
    return {"app": app} | {name: fill.concept(app, name, name.title()).row for name in ("dog", "cat", "animal", "fox")}


def put(store: Store, app: int, *names: ConceptName) -> None:
    def op(tx: Transaction) -> None:
        for name in names:
            tx.put_concept_name(app, name)

    store.write(op)


def relate(
    store: Store, app: int, relation_id: str, subject: int, predicate: str, object_: int, graph: str = ""
) -> int:
    record = RelationRecord(0, relation_id, subject, predicate, object_, graph, relation_id.encode())
    return store.write(lambda tx: tx.add_relation(app, record)).row


def test_names_come_back_by_language_in_order(store: Store, animals: dict[str, int]) -> None:
    dog = animals["dog"]
    japanese, danish = ConceptName(dog, "ja", "犬", "四本足"), ConceptName(dog, "da", "hund", "")
    put(store, animals["app"], japanese, danish)
    queries = store.read()
    assert queries.concept_name(dog, "ja") == japanese
    assert queries.concept_name(dog, "fr") is None
    assert queries.concept_names(dog, 0, 10) == [danish, japanese]
    assert queries.concept_names(dog, 1, 10) == [japanese]
    put(store, animals["app"], japanese._replace(name="イヌ"))
    assert [name.name for name in store.read().concept_names(dog, 0, 10)] == ["hund", "イヌ"]


def test_a_name_needs_a_concept_of_the_app(store: Store, fill: Filler, animals: dict[str, int]) -> None:
    other = fill.app("other")
    with pytest.raises(Missing):
        put(store, other, ConceptName(animals["dog"], "ja", "犬", ""))
    assert store.read().concept_name(animals["dog"], "ja") is None


def test_a_name_is_found_in_its_language_and_stands_in_for_one_that_is_missing(
    store: Store, animals: dict[str, int]
) -> None:
    app = animals["app"]
    put(store, app, ConceptName(animals["dog"], "ja", "犬", ""), ConceptName(animals["cat"], "ja", "犬", ""))
    queries = store.read()
    assert [one.id for one in queries.concepts_named_in(app, "ja", "犬")] == ["dog", "cat"]
    assert [one.id for one in queries.concepts_named_in(app, "ja", "Animal")] == ["animal"]
    assert queries.concepts_named_in(app, "ja", "Dog") == []
    assert [one.id for one in queries.concepts_named_in(app, "da", "Dog")] == ["dog"]
    assert queries.concepts_named_in(app + 1, "ja", "犬") == []


def test_searching_in_a_language(store: Store, animals: dict[str, int]) -> None:
    app = animals["app"]
    put(store, app, ConceptName(animals["dog"], "da", "Hund", "et dyr"), ConceptName(animals["fox"], "da", "ræv", ""))
    found = store.read().search_concepts_in(app, "da", "*", 0, 10)
    assert [(record.id, name and name.name) for record, name in found] == [
        ("animal", None),
        ("cat", None),
        ("dog", "Hund"),
        ("fox", "ræv"),
    ]
    ((record, name),) = store.read().search_concepts_in(app, "da", "hU*", 0, 10)
    assert (record.name, name) == ("Dog", ConceptName(animals["dog"], "da", "Hund", "et dyr"))
    assert store.read().search_concepts_in(app, "da", "dog", 0, 10) == []
    assert len(store.read().search_concepts_in(app, "da", "*", 3, 10)) == 1


def test_concepts_are_found_by_row(store: Store, animals: dict[str, int]) -> None:
    found = store.read().concepts_by_row([animals["dog"], animals["fox"], 999])
    assert {row: record.id for row, record in found.items()} == {animals["dog"]: "dog", animals["fox"]: "fox"}


def test_edges_are_listed_and_found(store: Store, animals: dict[str, int]) -> None:
    app, dog, cat, animal = (animals[name] for name in ("app", "dog", "cat", "animal"))
    relate(store, app, "r1", dog, "hyponym", animal)
    relate(store, app, "r2", cat, "hyponym", animal, "zoo")
    relate(store, app, "r3", dog, "synonym", cat)
    queries = store.read()
    assert [edge.id for edge in queries.list_relations(app, "", "", 0, 10)] == ["r1", "r2", "r3"]
    assert [edge.id for edge in queries.list_relations(app, "hyponym", "", 1, 10)] == ["r2"]
    assert [edge.id for edge in queries.list_relations(app, "", "zoo", 0, 10)] == ["r2"]
    assert queries.list_relations(app + 1, "", "", 0, 10) == []
    found = queries.find_relation(app, dog, "hyponym", animal, "")
    assert found is not None
    assert (found.id, found.message) == ("r1", b"r1")
    assert queries.find_relation(app, animal, "hyponym", dog, "") is None
    assert queries.find_relation(app, dog, "hyponym", animal, "zoo") is None
    assert set(queries.relations(app, ["r1", "r3", "r9"])) == {"r1", "r3"}


def test_edges_of_one_concept_by_role(store: Store, animals: dict[str, int]) -> None:
    app, dog, cat, animal = (animals[name] for name in ("app", "dog", "cat", "animal"))
    relate(store, app, "r1", dog, "hyponym", animal)
    relate(store, app, "r2", animal, "hyponym", cat, "zoo")
    relate(store, app, "r3", cat, "synonym", animal)

    def of(*roles: tuple[str, bool], graph: str = "", offset: int = 0) -> list[str]:
        return [edge.id for edge in store.read().relations_of(app, animal, roles, graph, offset, 10)]

    both = [("hyponym", True), ("hyponym", False), ("synonym", True), ("synonym", False)]
    assert of(*both) == ["r1", "r2", "r3"]
    assert of(*both, offset=1) == ["r2", "r3"]
    assert of(*both, graph="zoo") == ["r2"]
    assert of(("hyponym", True)) == ["r2"]
    assert of(("hyponym", False)) == ["r1"]
    assert of() == []


def test_ids_and_edges_are_unique(store: Store, animals: dict[str, int]) -> None:
    app, dog, animal = animals["app"], animals["dog"], animals["animal"]
    relate(store, app, "r1", dog, "hyponym", animal)
    with pytest.raises(Duplicate):
        relate(store, app, "r1", animal, "hyponym", dog)
    with pytest.raises(Duplicate):
        relate(store, app, "r2", dog, "hyponym", animal)
    relate(store, app, "r2", dog, "hyponym", animal, "zoo")
    with pytest.raises(Missing):
        relate(store, app, "r3", dog, "hyponym", 999)
    assert [edge.id for edge in store.read().list_relations(app, "", "", 0, 10)] == ["r1", "r2"]


def test_deleted_edges_are_gone_and_their_rows_are_not_used_again(store: Store, animals: dict[str, int]) -> None:
    app, dog, cat, animal = (animals[name] for name in ("app", "dog", "cat", "animal"))
    first, last = relate(store, app, "r1", dog, "hyponym", animal), relate(store, app, "r2", cat, "hyponym", animal)
    store.write(lambda tx: tx.delete_relations(app + 1, [first]))
    store.write(lambda tx: tx.delete_relations(app, [last, 999]))
    assert [edge.id for edge in store.read().list_relations(app, "", "", 0, 10)] == ["r1"]
    assert relate(store, app, "r3", cat, "hyponym", animal) > last


def test_hyponyms_are_reached_through_others_and_round_cycles(store: Store, animals: dict[str, int]) -> None:
    app, dog, cat, animal, fox = (animals[name] for name in ("app", "dog", "cat", "animal", "fox"))
    relate(store, app, "r1", dog, "hyponym", animal)
    relate(store, app, "r2", cat, "hyponym", dog)
    relate(store, app, "r3", animal, "hyponym", cat)
    relate(store, app, "r4", fox, "synonym", animal)
    queries = store.read()
    assert queries.hyponyms(app, [animal], 10) == sorted([animal, dog, cat])
    assert queries.hyponyms(app, [fox], 10) == [fox]
    assert queries.hyponyms(app, [fox, dog], 10) == sorted([fox, dog, cat, animal])
    assert len(queries.hyponyms(app, [animal], 2)) == 3
    assert len(queries.hyponyms(app, [animal], 1)) == 2
    assert queries.hyponyms(app, [], 10) == []


def test_all_of_it_goes_with_the_app_and_survives_opening_again(
    open_store: Callable[[], Store], fill: Filler, animals: dict[str, int]
) -> None:
    app, dog, animal = animals["app"], animals["dog"], animals["animal"]
    put(fill.store, app, ConceptName(dog, "ja", "犬", ""))
    relate(fill.store, app, "r1", dog, "hyponym", animal)
    store = open_store()
    assert store.read().concept_name(dog, "ja") is not None
    assert store.read().relation(app, "r1") is not None
    store.write(lambda tx: tx.delete_app(app))
    assert store.read().concept_name(dog, "ja") is None
    assert store.read().relation(app, "r1") is None
