"""What a model is trained on: labels become a table of examples and concepts, and the examples get their vectors.

An example is an anchor: an input as a whole, or a region with a vector of its own. How labels are read:

- a concept that is present makes the example a negative of every concept that nobody called present on its input
- an example with negatives alone is a negative of every concept that nobody called present on its input
- where one person says present and another absent, present counts, as it does in searches
- what nobody labelled is left out
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from google.protobuf.struct_pb2 import Struct
from numpy.typing import NDArray

from postil.core import dataset_labels, ids, model_types
from postil.core.heads import Stopped
from postil.errors import Failure
from postil.store.base import AppRecord, LabelColumns, Matrix, Queries, SpaceRecord
from postil.v1.status_code_pb2 import StatusCode

PREFERENCE = ("picture", "text", "client")  # of the kinds of spaces, where examples have vectors in several
MAX_BYTES = 1 << 30  # of vectors that one training holds; of more examples, as many are drawn
FILL = 20  # inputs drawn to stand in for a class without labels

_PIECE = 1024  # vectors read at a time
_LOOK_AT = 2000  # examples looked up to see which space most of them have vectors in
_NOTHING = np.empty(0, np.int64)


class Task(NamedTuple):
    """What to learn."""

    concepts: tuple[str, ...]  # ids; distinct
    exclusive: bool = False
    strict: bool = False  # every concept needs a positive label
    kinds: tuple[str, ...] = PREFERENCE  # of spaces
    space: str = ""  # id of the one to use
    seed: int = 0


class Table(NamedTuple):
    """Examples and what is known of them."""

    anchors: NDArray[np.int64]  # [n], ascending
    labels: NDArray[np.float32]  # [n, concepts]: 1 present, 0 absent, NaN unknown
    annotations: NDArray[np.int64]  # annotation rows, ascending, whose labels these are


class Lesson(NamedTuple):
    """All that a training needs."""

    table: Table
    space: SpaceRecord
    vectors: Matrix  # float32 [n, dim], of the table's anchors


def labels_to_train_on(queries: Queries, app: AppRecord, params: Struct) -> LabelColumns:
    """The labels that `train_info.params` asks for: those of the app, of a dataset or of its version that somebody
    stands by, and with `include_pending` those that wait for review, too.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT for data that is not there.
    """
    states = [int(StatusCode.ANNOTATION_SUCCESS)]
    if model_types.PENDING in params.fields and params.fields[model_types.PENDING].bool_value:
        states.append(int(StatusCode.ANNOTATION_PENDING))
    return dataset_labels.asked_for(queries, app, params, states)


def table(queries: Queries, app: AppRecord, task: Task, labels: LabelColumns) -> Table:
    """The labels as a table.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT for a concept that the app does not have.
    """
    known = queries.concepts(app.row, task.concepts)
    unknown = [ids.shown(concept) for concept in task.concepts if concept not in known]
    if unknown:
        raise Failure(
            StatusCode.MODEL_INVALID_ARGUMENT,
            f"The app has no concept {', '.join(unknown[:10])}; label inputs with it first, or leave it out.",
        )
    places = np.array([known[concept].row for concept in task.concepts], np.int64)
    order = np.argsort(places)
    found = np.searchsorted(places[order], labels.concepts)
    at = order[np.minimum(found, len(order) - 1)]
    meant = places[at] == labels.concepts
    anchors, example = np.unique(labels.anchors, return_inverse=True)
    whole, input_of = np.unique(labels.inputs, return_inverse=True)
    values = np.full((len(anchors), len(places)), np.nan, np.float32)
    present = meant & (labels.values > 0.0)
    absent = meant & ~present
    on_input = np.zeros((len(whole), len(places)), np.bool_)
    on_input[input_of[present], at[present]] = True
    owner = np.zeros(len(anchors), np.int64)
    owner[example] = input_of
    values[~on_input[owner]] = 0.0
    values[example[absent], at[absent]] = 0.0
    values[example[present], at[present]] = 1.0
    return Table(anchors, values, np.unique(labels.annotations))


def check(made: Table, task: Task) -> None:
    """Refuses what cannot be learned.

    Raises:
        Failure: MODEL_TRAINING_NO_DATA, MODEL_TRAINING_NO_POSITIVES, MODEL_TRAINING_ONE_VS_N_SINGLE_CLASS; the details
            say what to label.
    """
    some = ", ".join(map(ids.shown, task.concepts[:3])) + (" …" if len(task.concepts) > 3 else "")
    if not len(made.anchors):
        raise Failure(
            StatusCode.MODEL_TRAINING_NO_DATA,
            f"No input that is ready is labelled; post annotations with concepts[] {{id, value: 1}} for {some}, and "
            "some with other concepts or value 0, wait until their inputs are processed, then train again.",
        )
    present = (made.labels == 1.0).any(axis=0)
    without = [ids.shown(concept) for concept, has in zip(task.concepts, present, strict=True) if not has]
    if task.exclusive and (len(task.concepts) < 2 or present.sum() < 2):
        raise Failure(
            StatusCode.MODEL_TRAINING_ONE_VS_N_SINGLE_CLASS,
            "concepts_mutually_exclusive needs two concepts with positive labels at least; "
            + (f"label inputs with {', '.join(without[:10])}." if without else "give the model another concept."),
        )
    if without and (task.strict or not (present.any() or _denied(made))):
        raise Failure(
            StatusCode.MODEL_TRAINING_NO_POSITIVES,
            f"No input that is ready shows {', '.join(without[:10])}; post annotations with concepts[] "
            "{id, value: 1}, or leave it out.",
        )


def _denied(made: Table) -> bool:
    """Whether anything is known at all."""
    return bool(np.isfinite(made.labels).any())


def lesson(
    queries: Queries,
    app: AppRecord,
    task: Task,
    made: Table,
    stop: Callable[[], bool] = lambda: False,
    *,
    fill: bool = True,
) -> Lesson:
    """The examples with their vectors; those without any are left out.

    With `fill`, inputs that nobody labelled are drawn to stand in for classes that no label speaks for.

    Raises:
        Failure: As `check`; MODEL_TRAINING_NO_DATA when no example has a vector; MODEL_INVALID_ARGUMENT when the space
            that the task names is not the app's.
        Stopped: `stop` said so.
    """
    space = space_of(queries, app, task, made.anchors)
    chosen = _drawn(len(made.anchors), MAX_BYTES // (4 * space.dim), task.seed)
    rows, matrix = read_vectors(queries, space, made.anchors[chosen], stop)
    kept = np.isin(made.anchors, rows)
    made = made._replace(anchors=made.anchors[kept], labels=made.labels[kept])
    check(made, task)
    more = _fillers(queries, app, task, made) if fill else None
    if more is None:
        return Lesson(made, space, matrix)
    extra_rows, extra = read_vectors(queries, space, more.anchors, stop)
    more = more._replace(anchors=extra_rows, labels=more.labels[np.isin(more.anchors, extra_rows)])
    anchors = np.concatenate([made.anchors, more.anchors])
    order = np.argsort(anchors)
    labels = np.concatenate([made.labels, more.labels])[order]
    return Lesson(made._replace(anchors=anchors[order], labels=labels), space, np.concatenate([matrix, extra])[order])


def read_vectors(
    queries: Queries, space: SpaceRecord, anchors: NDArray[np.int64], stop: Callable[[], bool] = lambda: False
) -> tuple[NDArray[np.int64], Matrix]:
    """(rows [m], vectors float32 [m, dim]) of those anchors (ascending) that have one. Raises Stopped."""
    rows, pieces = [np.empty(0, np.int64)], [np.empty((0, space.dim), np.float32)]
    for start in range(0, len(anchors), _PIECE):
        if stop():
            raise Stopped
        found = queries.vectors(space.row, anchors[start : start + _PIECE].tolist())
        if len(found.rows):
            rows.append(found.rows)
            pieces.append(found.matrix)
    return np.concatenate(rows), np.concatenate(pieces)


def space_of(queries: Queries, app: AppRecord, task: Task, anchors: NDArray[np.int64]) -> SpaceRecord:
    """The space that the task names, else the one that most of the examples have vectors in."""
    spaces = queries.spaces(app.row)
    if task.space:
        spaces = [space for space in spaces if space.id == task.space]
    usable = sorted(
        (space for space in spaces if space.kind in task.kinds), key=lambda s: (PREFERENCE.index(s.kind), s.row)
    )
    some = anchors[:: max(1, len(anchors) // _LOOK_AT)].tolist()
    most, best = 0, None
    for space in usable:
        count = len(queries.vectors(space.row, some).rows)
        if count > most:
            most, best = count, space
        if most == len(some):
            break
    if best is None:
        what = f"in the space {ids.shown(task.space)}" if task.space else f"of a {' or '.join(task.kinds)} embedder"
        raise Failure(
            StatusCode.MODEL_TRAINING_NO_DATA,
            f"None of the labelled inputs has a vector {what}; label inputs that the app's base workflow embeds, or "
            "name another input_info.base_embed_model.",
        )
    return best


def _drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Places of `most` of `count` examples, ascending; of all when they are no more."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _fillers(queries: Queries, app: AppRecord, task: Task, made: Table) -> Table | None:
    """Inputs nobody labelled, drawn to stand in for the classes of concepts that no label speaks for; None when there
    is no need, or no such input."""
    width = made.labels.shape[1]
    lacking = [
        (place, value)
        for place in range(width)
        for value in (1.0, 0.0)
        if not task.exclusive and not (made.labels[:, place] == value).any()
    ]
    if not lacking:
        return None
    free = np.setdiff1d(queries.ready_anchors(app.row), made.anchors, assume_unique=True)
    if not len(free):
        return None
    numbers = np.random.default_rng(task.seed)
    chosen = np.sort(numbers.choice(free, min(FILL, len(free)), replace=False))
    labels = np.full((len(chosen), width), np.nan, np.float32)
    for place, value in lacking:
        labels[:, place] = value
    return Table(chosen, labels, _NOTHING)
