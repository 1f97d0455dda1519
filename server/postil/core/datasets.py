"""Datasets: named sets of inputs. Members are in `dataset_inputs.py`, frozen copies in `dataset_versions.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from postil.core import annotation_filters, ids, pages, patch, statuses
from postil.core.call import Call
from postil.errors import Failure, invalid_request, missing
from postil.store.base import DatasetRecord, Duplicate, Queries, Store, Transaction
from postil.v1.dataset_pb2 import Dataset, DatasetVersion
from postil.v1.dataset_service_pb2 import (
    DeleteDatasetsRequest,
    GetDatasetRequest,
    ListDatasetsRequest,
    MultiDatasetResponse,
    PatchDatasetsRequest,
    PostDatasetsRequest,
    SingleDatasetResponse,
)
from postil.v1.search_pb2 import AnnotationFilter
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status

MAX_ITEMS = 128
MAX_DESCRIPTION = 10_000  # characters
MAX_NOTES = 100_000  # characters
MAX_BYTES = 1 << 20  # of one dataset or version, without its members

_CHUNK = 1000
_FIELD = "datasets"
_SERVER_FIELDS = frozenset(
    {"id", "created_at", "modified_at", "app_id", "user_id", "version", "is_starred", "star_count"}
)
_UNSUPPORTED = ("starred_only", "bookmark", "sort_by_star_count", "sort_by_relevance")
_ORDERS: dict[str, Callable[[Dataset], Any]] = {
    "sort_by_created_at": lambda dataset: dataset.created_at.ToMicroseconds(),
    "sort_by_modified_at": lambda dataset: dataset.modified_at.ToMicroseconds(),
    "sort_by_id": lambda dataset: dataset.id,
}


class Datasets:
    """The datasets of an app. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, request: PostDatasetsRequest) -> MultiDatasetResponse:
        """Makes datasets, all or none.

        Raises:
            Failure: CONN_INVALID_REQUEST for an id that breaks a rule, comes twice or is taken, for texts that are too
                long, and for a filter that is not there or not of filters alone.
        """
        check_ids([dataset.id for dataset in request.datasets], _FIELD, "dataset")

        def op(tx: Transaction) -> list[Dataset]:
            made = []
            for i, sent in enumerate(request.datasets):
                dataset = _completed(tx, call, sent, ids.at(_FIELD, i))
                try:
                    tx.add_dataset(call.app.row, dataset.id, dataset.SerializeToString())
                except Duplicate as duplicate:
                    taken = ids.shown(dataset.id)
                    raise Failure(
                        StatusCode.DATABASE_DUPLICATE_KEY,
                        f"{ids.at(_FIELD, i)}: the app has a dataset {taken} already; choose another id. "
                        "Nothing was added.",
                    ) from duplicate
                made.append(dataset)
            return made

        return MultiDatasetResponse(status=ok(), datasets=self._store.write(op))

    def get(self, call: Call, request: GetDatasetRequest) -> SingleDatasetResponse:
        """With its newest version. Raises Failure CONN_DOES_NOT_EXIST."""
        queries = self._store.read()
        return SingleDatasetResponse(status=ok(), dataset=_shown(queries, find(queries, call, request.dataset_id)))

    def list(self, call: Call, request: ListDatasetsRequest) -> MultiDatasetResponse:
        """Newest first, or filtered and in order as asked.

        Raises:
            Failure: CONN_INVALID_REQUEST for a page out of range, and for what is not supported.
        """
        page, queries, app = pages.of_list(request.page, request.per_page), self._store.read(), call.app.row
        for name in _UNSUPPORTED:
            if getattr(request, name):
                raise invalid_request(f"{name} is not supported; leave it out.")
        order = request.WhichOneof("sort_by")
        if not (order or request.search or request.id):
            records = queries.list_datasets(app, page.offset, page.limit)
            return MultiDatasetResponse(status=ok(), datasets=[_shown(queries, record) for record in records])
        found = [record for record in _all(queries, app) if _matches(Dataset.FromString(record.message), request)]
        if order and getattr(request, order):
            key = _ORDERS[order]
            found.sort(key=lambda record: key(Dataset.FromString(record.message)), reverse=not request.sort_ascending)
        shown = found[page.offset : page.offset + page.limit]
        return MultiDatasetResponse(status=ok(), datasets=[_shown(queries, record) for record in shown])

    def patch(self, call: Call, request: PatchDatasetsRequest) -> MultiDatasetResponse:
        """Changes datasets, all or none.

        Raises:
            Failure: CONN_INVALID_REQUEST for another action or a change that breaks a rule; CONN_DOES_NOT_EXIST when
                one is not there.
        """
        action = patch.chosen(request.action)
        check_ids([dataset.id for dataset in request.datasets], _FIELD, "dataset", made=False)

        def op(tx: Transaction) -> list[Dataset]:
            changed = []
            for i, change in enumerate(request.datasets):
                where = ids.at(_FIELD, i)
                record = find(tx, call, change.id, f"{where}: ")
                after = patch.apply(action, Dataset.FromString(record.message), change, keep=_SERVER_FIELDS)
                after.modified_at.FromMicroseconds(tx.now_us)
                _check(tx, call, after, where)
                tx.update_dataset(record.row, after.SerializeToString())
                changed.append(after)
            return changed

        return MultiDatasetResponse(status=ok(), datasets=self._store.write(op))

    def delete(self, call: Call, request: DeleteDatasetsRequest) -> BaseResponse:
        """With their versions; those that are not there are passed over."""
        check_count(request.dataset_ids, "dataset_ids")
        self._store.write(lambda tx: tx.delete_datasets(call.app.row, request.dataset_ids))
        return BaseResponse(status=ok())


def find(queries: Queries, call: Call, dataset_id: str, where: str = "") -> DatasetRecord:
    """Raises Failure CONN_DOES_NOT_EXIST."""
    record = queries.dataset(call.app.row, dataset_id)
    if record is None:
        raise missing(
            f"{where}Dataset {ids.shown(dataset_id)} does not exist in app {call.app.id!r}; ListDatasets has those "
            "there are."
        )
    return record


def annotation_filter(queries: Queries, call: Call, asked: AnnotationFilter, where: str) -> AnnotationFilter:
    """The filter that is named by its id, or given whole.

    Raises:
        Failure: CONN_INVALID_REQUEST when it is not there, SEARCH_INVALID_REQUEST when it is none of filters alone.
    """
    if asked.HasField("search"):
        annotation_filters.check(asked, where)
        return asked
    record = queries.named(call.app.row, annotation_filters.KIND, asked.id)
    if record is None:
        raise invalid_request(
            f"{where}: the app has no annotation filter {ids.shown(asked.id)}; post it with PostAnnotationFilters."
        )
    return AnnotationFilter.FromString(record.message)


def check_ids(sent: Sequence[str], field: str, kind: str, *, made: bool = True) -> None:
    """Refuses too many items, bad ids and repeats; an empty id is `made` by the server, or refused."""
    check_count(sent, field)
    places: dict[str, int] = {}
    for i, one in enumerate(sent):
        if one or not made:
            ids.check(kind, one, ids.at(field, i))
        if one and one in places:
            raise invalid_request(f"{ids.at(field, i)}: duplicate id {ids.shown(one)}, also in {field}[{places[one]}].")
        places[one] = i


def check_count(sent: Sequence[object], field: str, most: int = MAX_ITEMS) -> None:
    """Raises Failure CONN_INVALID_REQUEST."""
    if not 1 <= len(sent) <= most:
        raise invalid_request(f"{field} holds {len(sent)} items; send 1 to {most} in one call.")


def check_texts(message: Dataset | DatasetVersion, where: str) -> None:
    """Refuses what is too long to be kept."""
    limits = {"description": MAX_DESCRIPTION, "notes": MAX_NOTES}
    for name, limit in limits.items():
        length = len(getattr(message, name, ""))
        if length > limit:
            raise invalid_request(f"{where}.{name} has {length} characters; use at most {limit}.")
    if message.ByteSize() > MAX_BYTES:
        raise invalid_request(f"{where} has {message.ByteSize()} bytes; at most {MAX_BYTES} are kept.")


def ok() -> Status:
    """SUCCESS."""
    return statuses.status(StatusCode.SUCCESS)


def _check(queries: Queries, call: Call, dataset: Dataset, where: str) -> None:
    check_texts(dataset, where)
    if dataset.HasField("default_annotation_filter"):
        try:
            annotation_filter(queries, call, dataset.default_annotation_filter, f"{where}.default_annotation_filter")
        except Failure as failure:
            raise invalid_request(failure.details) from failure


def _completed(tx: Transaction, call: Call, sent: Dataset, where: str) -> Dataset:
    dataset = Dataset()
    dataset.CopyFrom(sent)
    for name in _SERVER_FIELDS - {"id"}:
        dataset.ClearField(name)  # type: ignore[arg-type]
    dataset.id = sent.id or ids.new_id()
    dataset.app_id, dataset.user_id = call.app.id, call.app.user_id
    dataset.created_at.FromMicroseconds(tx.now_us)
    dataset.modified_at.FromMicroseconds(tx.now_us)
    _check(tx, call, dataset, where)
    return dataset


def _shown(queries: Queries, record: DatasetRecord) -> Dataset:
    """As it is answered: with its newest version."""
    dataset = Dataset.FromString(record.message)
    for newest in queries.dataset_versions(record.row, 0, 1):
        dataset.version.ParseFromString(newest.message)
    return dataset


def _all(queries: Queries, app: int) -> list[DatasetRecord]:
    found: list[DatasetRecord] = []
    while True:
        records = queries.list_datasets(app, len(found), _CHUNK)
        found += records
        if len(records) < _CHUNK:
            return found


def _matches(dataset: Dataset, request: ListDatasetsRequest) -> bool:
    anywhere = f"{dataset.id}\n{dataset.description}\n{dataset.notes}"
    checks = ((request.id, dataset.id), (request.search, anywhere))
    return all(text.casefold() in place.casefold() for text, place in checks if text)
