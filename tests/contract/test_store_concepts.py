"""What every store must do: concepts, by id, by name, and by patterns of names."""

from __future__ import annotations

import pytest

from postil.store.base import Duplicate, Missing, Store
from postil.v1.concept_pb2 import Concept
from support.stores import Filler


def test_concepts_are_created_when_first_wanted(store: Store, fill: Filler) -> None:
    app = fill.app("zoo")
    first = store.write(lambda tx: tx.ensure_concepts(app, {"cat": "", "dog": "Hund"}))
    again = store.write(lambda tx: tx.ensure_concepts(app, {"dog": "ignored", "cow": ""}))
    assert (first["cat"].name, first["dog"].name) == ("cat", "Hund")
    assert again["dog"] == first["dog"]
    message = Concept.FromString(first["dog"].message)
    assert (message.id, message.name, message.app_id, message.user_id) == ("dog", "Hund", "zoo", "me")
    assert message.created_at.seconds > 0
    assert store.read().concepts(app, ["cat", "cow", "x"]) == {"cat": first["cat"], "cow": again["cow"]}
    assert [concept.id for concept in store.read().list_concepts(app, "", 0, 10)] == ["cat", "dog", "cow"]
    with pytest.raises(Missing):
        store.write(lambda tx: tx.ensure_concepts(app + 1, {"cat": ""}))


def test_concepts_are_added_renamed_and_found_by_name(store: Store, fill: Filler) -> None:
    app = fill.app()
    record = store.write(lambda tx: tx.add_concept(app, "cat", "Katze", b"m"))
    assert store.read().concept(app, "cat") == record
    with pytest.raises(Duplicate):
        store.write(lambda tx: tx.add_concept(app, "cat", "x", b""))
    store.write(lambda tx: tx.update_concept(record.row, "Kater", b"n"))
    assert store.read().concepts_by_name(app, "Katze") == []
    assert [(c.id, c.message) for c in store.read().concepts_by_name(app, "Kater")] == [("cat", b"n")]
    with pytest.raises(Missing):
        store.write(lambda tx: tx.update_concept(record.row + 1, "x", b""))


def test_concepts_are_searched_ignoring_case(store: Store, fill: Filler) -> None:
    app = fill.app()
    for concept_id, name in (("1", "ÄPFEL 100%"), ("2", "apple_pie"), ("3", "Apple Pie"), ("x%y", "[pie]*\\")):
        fill.concept(app, concept_id, name)

    def searched(pattern: str, offset: int = 0, limit: int = 10) -> list[str]:
        return [concept.id for concept in store.read().search_concepts(app, pattern, offset, limit)]

    def liked(text: str) -> list[str]:
        return [concept.id for concept in store.read().list_concepts(app, text, 0, 10)]

    assert searched("*") == ["3", "x%y", "2", "1"]  # by name
    assert searched("*", offset=1, limit=2) == ["x%y", "2"]
    assert searched("apple*") == ["3", "2"]
    assert searched("*PIE") == ["3", "2"]
    assert searched("äpfel 100%") == ["1"]
    assert searched("apple_pie") == ["2"]
    assert searched("*%") == ["1"]
    assert searched("[pie]**\\") == ["x%y"]
    assert searched("pie") == []
    assert searched("") == []
    assert liked("äp") == ["1"]
    assert liked("%Y") == ["x%y"]
    assert liked("E_P") == ["2"]
