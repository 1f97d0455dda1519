"""What every store must do: spaces and vectors."""

from __future__ import annotations

import numpy as np
import pytest

from postil.store.base import Missing, Store
from support.stores import Filler


def test_spaces_are_created_once(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    first = store.write(lambda tx: tx.ensure_space(app, "s", "name", "client", 3))
    again = store.write(lambda tx: tx.ensure_space(app, "s", "ignored", "text", 4))
    assert first == again
    assert (first.app, first.dim, first.unit) == (app, 3, True)
    elsewhere = store.write(lambda tx: tx.ensure_space(other, "s", "", "client", 3))
    assert store.read().space(app, "s") == first
    assert store.read().space(app, "t") is None
    assert store.read().spaces(app) == [first]
    assert store.read().all_spaces() == [first, elsewhere]
    with pytest.raises(Missing):
        store.write(lambda tx: tx.ensure_space(10**6, "s", "", "client", 3))


def test_vectors_come_back_bit_for_bit(store: Store, fill: Filler) -> None:
    app = fill.app()
    inputs = fill.inputs(app, *(f"i{number}" for number in range(1500)))
    anchors = [record.anchor for record in inputs]
    space = fill.space(app, dim=5)
    matrix = np.random.default_rng(1).standard_normal((1500, 5)).astype(np.float32)
    matrix[0] = np.array([1e-45, -0.0, 3.4e38, 1, 2], dtype=np.float32)
    fill.vectors(app, space, anchors, matrix)
    found = store.read().vectors(space, anchors[::-1])
    assert found.rows.tolist() == anchors
    assert (found.rows.dtype.str, found.matrix.dtype.str) == ("<i8", "<f4")
    assert found.matrix.flags.c_contiguous
    assert found.matrix.tobytes() == matrix.tobytes()
    assert store.read().count_vectors(space) == 1500
    assert store.read().vectors(space, np.array(anchors[:3])).rows.tolist() == anchors[:3]  # type: ignore[arg-type]
    assert store.read().vectors(space, []).matrix.shape[0] == 0
    assert store.read().vectors(space + 1, anchors).rows.tolist() == []


def test_a_vector_is_replaced(store: Store, fill: Filler) -> None:
    app = fill.app()
    a = fill.input(app, "a")
    space = fill.space(app)
    for numbers in ([1, 0], [0, 1]):
        fill.vectors(app, space, [a.anchor], [numbers])
    assert store.read().vectors(space, [a.anchor]).matrix.tolist() == [[0, 1]]
    assert store.read().count_vectors(space) == 1


def test_vectors_are_scanned_in_order(store: Store, fill: Filler) -> None:
    app = fill.app()
    anchors = [record.anchor for record in fill.inputs(app, *"abcde")]
    space, other = fill.space(app), fill.space(app, space_id="other")
    fill.vectors(app, space, anchors[::-1], np.ones((5, 2)))
    fill.vectors(app, other, anchors, np.zeros((5, 2)))
    seen: list[int] = []
    while len(page := store.read().scan_vectors(space, seen[-1] if seen else 0, 2).rows):
        seen += page.tolist()
    assert seen == anchors
    assert store.read().scan_vectors(other, 0, 9).matrix.tolist() == np.zeros((5, 2)).tolist()


def test_the_vectors_of_an_input(store: Store, fill: Filler) -> None:
    app = fill.app()
    a, b = fill.inputs(app, "a", "b")
    x = fill.annotation(app, a, "x")
    space = fill.space(app)
    fill.vectors(app, space, [x.row, a.anchor, b.anchor], np.eye(3, 2))
    assert store.read().vectors_of_input(space, a.row).rows.tolist() == [a.anchor, x.row]
    assert store.read().vectors_of_input(space, 10**6).rows.tolist() == []


def test_a_space_knows_whether_its_vectors_have_unit_length(store: Store, fill: Filler) -> None:
    app = fill.app()
    a, b = fill.inputs(app, "a", "b")
    space = fill.space(app)

    def unit() -> bool:
        return store.read().spaces(app)[0].unit

    fill.vectors(app, space, [a.anchor], [[0.6, 0.8005]])
    assert unit() is True
    fill.vectors(app, space, [a.anchor, b.anchor], [[1, 0], [1, 1]])
    assert unit() is False
    fill.vectors(app, space, [b.anchor], [[1, 0]])
    assert unit() is False


def test_vectors_that_do_not_fit_are_refused(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    a, foreign = fill.input(app, "a"), fill.input(other, "a")
    space = fill.space(app)
    with pytest.raises(ValueError, match="do not fit"):
        fill.vectors(app, space, [a.anchor], [[1, 2, 3]])
    for whose, where, row in ((app, space, foreign.anchor), (app, space, 10**6), (other, space, foreign.anchor)):
        with pytest.raises((Missing, ValueError)):
            fill.vectors(whose, where, [row], [[1, 0]])
    assert store.read().count_vectors(space) == 0


def test_deleting_vectors_leaves_their_annotations(store: Store, fill: Filler) -> None:
    app, other = fill.app(), fill.app("other")
    a, b = fill.inputs(app, "a", "b")
    spaces = [fill.space(app), fill.space(app, space_id="second")]
    for space in spaces:
        fill.vectors(app, space, [a.anchor, b.anchor], np.eye(2))
    store.write(lambda tx: tx.delete_vectors(other, [a.anchor]))
    assert store.read().count_vectors(spaces[0]) == 2
    store.write(lambda tx: tx.delete_vectors(app, [a.anchor]))
    assert [store.read().vectors(space, [a.anchor, b.anchor]).rows.tolist() for space in spaces] == [[b.anchor]] * 2
    assert a.anchor in store.read().annotations_by_row([a.anchor])
