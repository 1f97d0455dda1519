"""Which annotations a search may show: its filters, answered by the app's catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.struct_pb2 import Struct, Value
from pyroaring import BitMap

from postil.core import hyponyms, ids, languages
from postil.core.dataset_members import DatasetMembers
from postil.core.filters import Filter, Find
from postil.core.refusals import invalid
from postil.index.catalog import AppCatalog
from postil.index.catalogs import Catalogs
from postil.index.marks import INFO, LEVEL, contains_object, has_lists, json_tokens
from postil.index.rowsets import rows_of
from postil.store.base import AppRecord, Queries
from postil.v1.annotation_pb2 import Annotation
from postil.v1.concept_pb2 import Concept
from postil.v1.status_code_pb2 import StatusCode

_READ = 1024  # messages read at a time


class Prepared(NamedTuple):
    """A filter with everything that the store had to be asked for."""

    annotation: tuple[Find, ...]
    input: tuple[Find, ...]
    negate: bool


class StoreLookup:
    """Implements `filters.Lookup` for one query.

    Args:
        queries: Reads.
        catalogs: For what must be read again to be sure.
        app: The app.
        user_id: Who asks.
        language: Of concept names, by default.
        expand: A concept also means the kinds of it.
        members: Who is in which dataset.
    """

    def __init__(
        self,
        queries: Queries,
        catalogs: Catalogs,
        app: AppRecord,
        user_id: str,
        language: str,
        *,
        expand: bool,
        members: DatasetMembers,
    ) -> None:
        self._queries = queries
        self._catalogs = catalogs
        self._app = app
        self._user_id = user_id
        self._language = language
        self._expand = expand
        self._members = members

    def user(self, user_id: str) -> str:
        return self._user_id if user_id == "me" else user_id

    def level(self, input_id: str) -> int | None:
        found = self._queries.input(self._app.row, input_id)
        return found.anchor if found else None

    def dataset(self, dataset_id: str, where: str) -> BitMap:
        record = self._queries.dataset(self._app.row, dataset_id)
        if record is None:
            raise invalid(f"{where}: the app has no dataset {ids.shown(dataset_id)}; list them with ListDatasets")
        return self._members.of(self._queries, record)

    def posted_with(self, url: str) -> list[int]:
        return self._queries.anchors_by_url(self._app.row, url.strip())

    def concepts(self, concept: Concept, where: str) -> list[int]:
        if concept.app_id not in {"", self._app.id}:
            return []
        if concept.id:
            one = self._queries.concept(self._app.row, concept.id)
            found = [one] if one else []
        else:
            spoken = languages.foreign(self._app, concept.language, self._language)
            if spoken:
                languages.check(spoken, where, StatusCode.SEARCH_INVALID_REQUEST)
            found = languages.find(self._queries, self._app, concept.name, spoken)
        if self._expand and found:
            return hyponyms.expand(self._queries, self._app, found, where)
        return [record.row for record in found]

    def containing(self, kind: str, wanted: Struct) -> Find:
        numbers = list(dict.fromkeys(json_tokens(kind, wanted)))

        def having(catalog: AppCatalog) -> BitMap:
            return BitMap.intersection(*(catalog.with_token(number) for number in numbers)) if numbers else catalog.all

        if not has_lists(Value(struct_value=wanted)):
            return having
        with self._catalogs.hold(self._app.row) as catalog:
            candidates = rows_of(having(catalog)).tolist()
        sure = BitMap(self._verified(kind, wanted, candidates))
        return lambda catalog: sure & catalog.all

    def _verified(self, kind: str, wanted: Struct, rows: list[int]) -> list[int]:
        """Lists: two wanted facts of one element may lie in two elements, so the message decides."""
        found = []
        at_once = max(1, min(_READ, self._queries.room >> 20))  # of 1 MiB at most
        for start in range(0, len(rows), at_once):
            for row, record in self._queries.annotations_by_row(rows[start : start + at_once]).items():
                message = Annotation.FromString(record.message)
                if contains_object(message.annotation_info if kind == INFO else message.data.metadata, wanted):
                    found.append(row)
        return found


def prepare(filters: Sequence[Filter], lookup: StoreLookup) -> list[Prepared]:
    """Asks the store what the filters need of it. Raises Failure."""
    return [
        Prepared(tuple(test(lookup) for test in one.annotation), tuple(test(lookup) for test in one.input), one.negate)
        for one in filters
    ]


def of_annotations(catalog: AppCatalog, filters: Sequence[Prepared], as_of_us: int | None) -> BitMap | None:
    """The annotations that pass every filter; None when nothing is asked."""
    if not filters and as_of_us is None:
        return None
    everything = catalog.all if as_of_us is None else catalog.created_by(as_of_us)
    passed = BitMap(everything)
    for one in filters:
        rows = _holding(catalog, one)
        if one.negate:
            passed -= rows
        else:
            passed &= rows
    return passed


def of_inputs(catalog: AppCatalog, filters: Sequence[Prepared], as_of_us: int | None) -> BitMap | None:
    """The annotations that a search for inputs may show; None when nothing is asked.

    An input passes a filter when one of its annotations does, and a negated one when none does; two filters may hold by
    two annotations. Shown are those annotations of the inputs that made a filter hold, or all of them where no filter
    says what the annotation must be.
    """
    if not filters and as_of_us is None:
        return None
    everything = catalog.all if as_of_us is None else catalog.created_by(as_of_us)
    inputs = everything & catalog.marked(LEVEL)
    reasons: list[BitMap] = []
    for one in filters:
        rows = _holding(catalog, one) & everything
        if one.negate:
            inputs -= catalog.levels_of(rows)
        else:
            inputs &= catalog.levels_of(rows)
            reasons += [rows] if one.annotation else []
    shown = catalog.of_levels(inputs) & everything
    return shown & BitMap.union(*reasons) if reasons else shown


def _holding(catalog: AppCatalog, one: Prepared) -> BitMap:
    """What passes the filter, `negate` aside."""
    sets = [find(catalog) for find in one.annotation]
    if one.input:
        sets.append(BitMap.union(*(find(catalog) for find in one.input)))
    return BitMap.intersection(*sets) if sets else catalog.all
