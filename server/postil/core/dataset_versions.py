"""Versions of datasets: frozen copies of the inputs and annotations, to train on and to come back to.

A version holds the messages themselves, compressed, some inputs to a part; so it stays as it was whatever becomes of
the inputs. It is read in one snapshot of the store: what it shows was all there at one moment.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from postil.core import dataset_metrics, ids, pages, statuses
from postil.core.call import Call
from postil.core.datasets import annotation_filter, check_count, check_ids, check_texts, find, ok
from postil.core.hosting import hosted_digests
from postil.errors import Failure, invalid_request, missing
from postil.store.base import (
    AnnotationRecord,
    DatasetRecord,
    DatasetVersionRecord,
    Duplicate,
    Member,
    Part,
    Queries,
    Store,
    Transaction,
)
from postil.v1.annotation_pb2 import Annotation
from postil.v1.dataset_pb2 import (
    MANUAL,
    AnnotationFilterConfig,
    Dataset,
    DatasetVersion,
    DatasetVersionInput,
    DatasetVersionRequestOrigin,
)
from postil.v1.dataset_service_pb2 import (
    DeleteDatasetVersionsRequest,
    GetDatasetVersionRequest,
    ListDatasetVersionInputsRequest,
    ListDatasetVersionsRequest,
    MultiDatasetVersionInputResponse,
    MultiDatasetVersionResponse,
    PostDatasetVersionsRequest,
    SingleDatasetVersionResponse,
)
from postil.v1.search_pb2 import Search
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

MAX_MADE = 8  # versions of one call
PART = 512  # inputs
_LEVEL = 3  # of zlib: twice as fast as the default, a tenth larger
_CHUNK = 1000
_FIELD = "dataset_versions"
_SERVER_FIELDS = ("created_at", "modified_at", "app_id", "user_id", "dataset_id", "status", "metrics")
_WHOLE = "/"  # the key of `metrics` for all of a version


class Finds(Protocol):
    """What is needed of `core.search.Searches`."""

    def passing(self, call: Call, queries: Queries, search: Search, where: str) -> Sequence[int]:
        """The annotations (rows) that pass the filters of a search."""
        ...


class DatasetVersions:
    """Frozen copies of datasets. Thread-safe.

    Args:
        store: Where they are kept.
        searches: Picks annotations for versions that have a filter.
    """

    def __init__(self, store: Store, searches: Finds) -> None:
        self._store = store
        self._searches = searches

    def post(self, call: Call, request: PostDatasetVersionsRequest) -> MultiDatasetVersionResponse:
        """Freezes the dataset as it is now, all versions or none.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when the dataset is not there; CONN_INVALID_REQUEST for an id that breaks a
                rule or is taken, for texts that are too long, for a filter that is not there, and for predictions.
        """
        check_count(request.dataset_versions, _FIELD, MAX_MADE)
        check_ids([version.id for version in request.dataset_versions], _FIELD, "dataset version")
        with self._store.snapshot() as queries:
            dataset = find(queries, call, request.dataset_id)
            made = [
                self._freeze(call, queries, dataset, sent, ids.at(_FIELD, i))
                for i, sent in enumerate(request.dataset_versions)
            ]

        def op(tx: Transaction) -> list[DatasetVersion]:
            row = find(tx, call, request.dataset_id).row
            self._hold(tx, {digest for frozen in made for part in frozen.parts for digest in part.blobs})
            return [_keep(tx, row, frozen, ids.at(_FIELD, i)) for i, frozen in enumerate(made)]

        return MultiDatasetVersionResponse(status=ok(), dataset_versions=self._store.write(op))

    def _hold(self, tx: Transaction, digests: set[str]) -> None:
        """Media whose inputs were deleted since the snapshot must not be swept before the version keeps them."""
        if not all(map(self._store.blobs.keep, tx.loose_blobs(digests))):
            raise missing("Inputs of the dataset were deleted while the version was made; make it again.")

    def _freeze(
        self, call: Call, queries: Queries, dataset: DatasetRecord, sent: DatasetVersion, where: str
    ) -> _Frozen:
        version = _completed(call, dataset, sent, where)
        config = _config(Dataset.FromString(dataset.message), version)
        rows = None
        if config is not None:
            at = f"{where}.annotation_filter_config.annotation_filter"
            wanted = annotation_filter(queries, call, config.annotation_filter, at)
            rows = frozenset(self._searches.passing(call, queries, wanted.search, f"{at}.search"))
        ignore_empty = config is not None and config.ignore_empty_inputs
        tally = dataset_metrics.Tally()
        parts = []
        for part in _chunked(tally.counting(_inputs(queries, dataset.row, rows, ignore_empty=ignore_empty))):
            call.check()
            parts.append(_part(part))
        version.metrics[_WHOLE].CopyFrom(tally.message())
        return _Frozen(version, parts)

    def get(self, call: Call, request: GetDatasetVersionRequest) -> SingleDatasetVersionResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        queries = self._store.read()
        record = find_version(queries, call, request.dataset_id, request.dataset_version_id)
        version = DatasetVersion.FromString(record.message)
        return SingleDatasetVersionResponse(status=ok(), dataset_version=version)

    def list(self, call: Call, request: ListDatasetVersionsRequest) -> MultiDatasetVersionResponse:
        """Newest first. Raises Failure CONN_DOES_NOT_EXIST."""
        page, queries = pages.of_list(request.page, request.per_page), self._store.read()
        origins = set(request.request_origins) or {MANUAL}
        dataset = find(queries, call, request.dataset_id)
        versions = [version for version in _all(queries, dataset.row) if version.request_origin in origins]
        shown = versions[page.offset : page.offset + page.limit]
        return MultiDatasetVersionResponse(status=ok(), dataset_versions=shown)

    def inputs(self, call: Call, request: ListDatasetVersionInputsRequest) -> MultiDatasetVersionInputResponse:
        """As they were, in the order in which they were posted. Raises Failure CONN_DOES_NOT_EXIST."""
        page, queries = pages.of_list(request.page, request.per_page), self._store.read()
        record = find_version(queries, call, request.dataset_id, request.dataset_version_id)
        found = list(frozen_inputs(queries, record.row, page.offset, page.limit))
        return MultiDatasetVersionInputResponse(status=ok(), inputs=found)

    def delete(self, call: Call, request: DeleteDatasetVersionsRequest) -> BaseResponse:
        """Those that are not there are passed over. Raises Failure CONN_DOES_NOT_EXIST when the dataset is not."""
        check_count(request.dataset_version_ids, "dataset_version_ids")

        def op(tx: Transaction) -> None:
            tx.delete_dataset_versions(find(tx, call, request.dataset_id).row, request.dataset_version_ids)

        self._store.write(op)
        return BaseResponse(status=ok())


class _Frozen(NamedTuple):
    """A version that is not kept yet."""

    version: DatasetVersion
    parts: list[Part]


def find_version(queries: Queries, call: Call, dataset_id: str, version_id: str) -> DatasetVersionRecord:
    """Raises Failure CONN_DOES_NOT_EXIST."""
    record = queries.dataset_version(find(queries, call, dataset_id).row, version_id)
    if record is None:
        raise missing(f"Dataset {dataset_id!r} has no version {ids.shown(version_id)}; ListDatasetVersions has them.")
    return record


def frozen_inputs(
    queries: Queries, version: int, offset: int = 0, limit: int | None = None
) -> Iterator[DatasetVersionInput]:
    """The inputs of a version (row) as they were, `limit` of them from `offset` on."""
    left = limit
    for number, size in enumerate(queries.version_sizes(version)):
        if offset >= size:
            offset -= size
            continue
        content = zlib.decompress(queries.version_part(version, number))
        for one in MultiDatasetVersionInputResponse.FromString(content).inputs[offset:]:
            if left is not None:
                if left == 0:
                    return
                left -= 1
            yield one
        offset = 0


def _completed(call: Call, dataset: DatasetRecord, sent: DatasetVersion, where: str) -> DatasetVersion:
    if sent.HasField("model_predict_config"):
        raise invalid_request(f"{where}.model_predict_config is not supported; post annotations, or use a filter.")
    if sent.request_origin not in DatasetVersionRequestOrigin.values():
        raise invalid_request(f"{where}.request_origin {sent.request_origin} is unknown; leave it out.")
    version = DatasetVersion()
    version.CopyFrom(sent)
    for name in _SERVER_FIELDS:
        version.ClearField(name)  # type: ignore[arg-type]
    version.id = sent.id or ids.new_id()
    version.app_id, version.user_id, version.dataset_id = call.app.id, call.app.user_id, dataset.id
    version.request_origin = sent.request_origin or MANUAL
    version.status.CopyFrom(statuses.status(StatusCode.DATASET_VERSION_READY))
    check_texts(version, where)
    return version


def _config(dataset: Dataset, version: DatasetVersion) -> AnnotationFilterConfig | None:
    """Which annotations to take: as the version says, else as the dataset does; None for all."""
    if version.HasField("annotation_filter_config"):
        if not version.annotation_filter_config.HasField("annotation_filter"):
            return None
    elif dataset.HasField("default_annotation_filter"):
        version.annotation_filter_config.annotation_filter.CopyFrom(dataset.default_annotation_filter)
    else:
        return None
    return version.annotation_filter_config


def _inputs(
    queries: Queries, dataset: int, allowed: frozenset[int] | None, *, ignore_empty: bool
) -> Iterator[DatasetVersionInput]:
    after = 0
    while True:
        members = queries.members(dataset, after, _CHUNK)
        if not members:
            return
        after += len(members)
        yield from _with_annotations(queries, members, allowed, ignore_empty=ignore_empty)


def _with_annotations(
    queries: Queries, members: Sequence[Member], allowed: frozenset[int] | None, *, ignore_empty: bool
) -> Iterator[DatasetVersionInput]:
    by_input: dict[int, list[AnnotationRecord]] = defaultdict(list)
    for record in queries.annotations_of_inputs([member.input for member in members]):
        if allowed is None or record.row in allowed:
            by_input[record.input].append(record)
    for member in members:
        records = by_input[member.input]
        if ignore_empty and all(record.blank for record in records):
            continue
        one = DatasetVersionInput()
        one.input.ParseFromString(member.message)
        one.annotations.extend(Annotation.FromString(record.message) for record in records)
        yield one


def _chunked(inputs: Iterator[DatasetVersionInput]) -> Iterator[list[DatasetVersionInput]]:
    part: list[DatasetVersionInput] = []
    for one in inputs:
        part.append(one)
        if len(part) == PART:
            yield part
            part = []
    if part:
        yield part


def _part(inputs: list[DatasetVersionInput]) -> Part:
    content = MultiDatasetVersionInputResponse(inputs=inputs).SerializeToString()
    return Part(len(inputs), zlib.compress(content, _LEVEL), hosted_digests(inputs))


def _keep(tx: Transaction, dataset: int, frozen: _Frozen, where: str) -> DatasetVersion:
    version = frozen.version
    version.created_at.FromMicroseconds(tx.now_us)
    version.modified_at.FromMicroseconds(tx.now_us)
    try:
        tx.add_dataset_version(dataset, version.id, version.SerializeToString(), frozen.parts)
    except Duplicate as duplicate:
        details = f"{where}: the dataset has a version {ids.shown(version.id)} already; choose another id."
        raise Failure(StatusCode.DATABASE_DUPLICATE_KEY, details) from duplicate
    return version


def _all(queries: Queries, dataset: int) -> Iterator[DatasetVersion]:
    offset = 0
    while True:
        records = queries.dataset_versions(dataset, offset, _CHUNK)
        yield from (DatasetVersion.FromString(record.message) for record in records)
        offset += len(records)
        if len(records) < _CHUNK:
            return
