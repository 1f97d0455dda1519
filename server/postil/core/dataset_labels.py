"""The labels of a dataset, as trainings read them: of its members as they are now, or of a version as they were."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from google.protobuf.struct_pb2 import Struct

from postil.core import ids
from postil.core.dataset_versions import frozen_inputs
from postil.core.labels import concepts_in, label_values
from postil.errors import Failure
from postil.store.base import AnnotationRecord, AppRecord, LabelColumns, Queries
from postil.v1.annotation_pb2 import Annotation
from postil.v1.dataset_pb2 import DatasetVersionInput
from postil.v1.status_code_pb2 import StatusCode

_PIECE = 512  # inputs looked up at a time


DATASET, VERSION = "dataset_id", "dataset_version_id"  # of train_info.params


class _Label(NamedTuple):
    annotation: int
    anchor: int
    input: int
    concept: str
    value: float


def asked_for(queries: Queries, app: AppRecord, params: Struct, states: Sequence[int]) -> LabelColumns:
    """The labels of trusted annotations in these states: of the dataset or version that `params` names, or of the app.

    Raises:
        Failure: MODEL_INVALID_ARGUMENT for a dataset or version that is not there.
    """
    dataset_id, version_id = _text(params, DATASET), _text(params, VERSION)
    if not dataset_id and not version_id:
        return queries.training_labels(app.row, states)
    dataset = queries.dataset(app.row, dataset_id)
    if dataset is None:
        raise _unknown(f"train_info.params.{DATASET}: the app has no dataset {ids.shown(dataset_id)}")
    if not version_id:
        return of_members(queries, dataset.row, queries.training_labels(app.row, states))
    version = queries.dataset_version(dataset.row, version_id)
    if version is None:
        raise _unknown(f"train_info.params.{VERSION}: dataset {dataset_id!r} has no version {ids.shown(version_id)}")
    return of_version(queries, app, version.row, states)


def of_members(queries: Queries, dataset: int, labels: LabelColumns) -> LabelColumns:
    """Those of the labels that are on inputs of a dataset (row)."""
    mine = np.isin(labels.inputs, queries.member_rows(dataset))
    return LabelColumns(
        labels.annotations[mine], labels.anchors[mine], labels.inputs[mine], labels.concepts[mine], labels.values[mine]
    )


def of_version(queries: Queries, app: AppRecord, version: int, states: Collection[int]) -> LabelColumns:
    """The labels of trusted annotations in these states, as a version (row) has them.

    What a version says stays, but a vector goes with its input or region: labels without one to stand for are left out.
    """
    found: list[_Label] = []
    inputs = frozen_inputs(queries, version)
    while piece := list(islice(inputs, _PIECE)):
        found += _labels(queries, app.row, piece, states)
    concepts = queries.concepts(app.row, sorted({label.concept for label in found}))
    kept = [label for label in found if label.concept in concepts]
    return LabelColumns(
        np.array([label.annotation for label in kept], np.int64),
        np.array([label.anchor for label in kept], np.int64),
        np.array([label.input for label in kept], np.int64),
        np.array([concepts[label.concept].row for label in kept], np.int64),
        np.array([label.value for label in kept], np.float32),
    )


def _text(params: Struct, name: str) -> str:
    return str(params.fields[name].string_value) if name in params.fields else ""  # asking alone would add it


def _unknown(what: str) -> Failure:
    return Failure(StatusCode.MODEL_INVALID_ARGUMENT, f"{what}; name one that is there, or train on the whole app.")


def _labels(
    queries: Queries, app: int, piece: Sequence[DatasetVersionInput], states: Collection[int]
) -> Iterator[_Label]:
    inputs = queries.inputs(app, [one.input.id for one in piece])
    named = [(one.input.id, annotation.id) for one in piece for annotation in one.annotations]
    records = queries.annotations(app, named)
    for one in piece:
        there = inputs.get(one.input.id)
        if there is None or there.created_us != one.input.created_at.ToMicroseconds():
            continue
        for annotation in one.annotations:
            if not annotation.trusted or annotation.status.code not in states:
                continue
            record = records.get((one.input.id, annotation.id))
            if record is not None and not _same(record, annotation):
                record = None  # another one has taken its id since
            if record is None and (annotation.input_level or annotation.data.regions or annotation.data.frames):
                continue
            row, anchor = (record.row, record.anchor) if record else (there.anchor, there.anchor)
            for concept, value in label_values(concepts_in(annotation.data)).items():
                yield _Label(row, anchor, there.row, concept, value)


def _same(record: AnnotationRecord, annotation: Annotation) -> bool:
    """Ids can be given again; times of creation differ."""
    return record.created_us == annotation.created_at.ToMicroseconds()
