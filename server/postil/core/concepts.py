"""Concepts: posted, found, renamed and counted. There is no deleting one: labels refer to it for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postil.core import concept_names, ids, languages, pages, patch, statuses
from postil.core.call import Call
from postil.core.labels import MAX_NAME
from postil.errors import Failure, missing
from postil.store.base import AppRecord, ConceptName, ConceptRecord, ConceptTally, Store, Transaction
from postil.v1.common_pb2 import Visibility
from postil.v1.concept_pb2 import Concept, ConceptCount, ConceptTypeCount
from postil.v1.concept_service_pb2 import (
    GetConceptCountsRequest,
    GetConceptRequest,
    ListConceptsRequest,
    MultiConceptCountResponse,
    MultiConceptResponse,
    PatchConceptsRequest,
    PostConceptsRequest,
    PostConceptsSearchesRequest,
    SingleConceptResponse,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

MAX_ITEMS = 1000

_SERVER_FIELDS = frozenset({"id", "value", "created_at", "language", "app_id", "user_id", "extra_info"})
_NAMED = 5  # how many items at fault a message names


class Concepts:
    """The concepts of an app. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, request: PostConceptsRequest) -> MultiConceptResponse:
        """Adds concepts, all or none; a name that is not given is the id.

        Raises:
            Failure: CONCEPTS_INVALID_REQUEST when an id is there already or comes twice, or a field cannot be kept;
                CONN_INVALID_REQUEST for an id that breaks a rule.
        """
        app = call.app
        _check_items(request.concepts)

        def op(tx: Transaction) -> list[ConceptRecord]:
            there = tx.concepts(app.row, [concept.id for concept in request.concepts])
            if there:
                raise _duplicates(request.concepts, there)
            messages = [_completed(app, concept, tx.now_us) for concept in request.concepts]
            return [tx.add_concept(app.row, one.id, one.name, one.SerializeToString()) for one in messages]

        return _many(app, self._store.write(op))

    def get(self, call: Call, request: GetConceptRequest) -> SingleConceptResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        record = self._store.read().concept(call.app.row, request.concept_id)
        if record is None:
            raise missing(f"Concept {ids.shown(request.concept_id)} does not exist in app {call.app.id!r}.")
        return SingleConceptResponse(status=_ok(), concept=concept_message(call.app, record))

    def list(self, call: Call, request: ListConceptsRequest) -> MultiConceptResponse:
        """In order of creation. `id` keeps those whose id or name contains it, ignoring case."""
        page = pages.of_list(request.page, request.per_page)
        return _many(call.app, self._store.read().list_concepts(call.app.row, request.id, page.offset, page.limit))

    def patch(self, call: Call, request: PatchConceptsRequest) -> MultiConceptResponse:
        """Overwrites the fields that are sent, all concepts or none. A new name is carried into every label.

        Many labels take many ops (`core/concept_names.py`); the call answers when the last of them has the name.

        Raises:
            Failure: CONN_INVALID_REQUEST for another action than overwrite; CONN_DOES_NOT_EXIST when one is not there.
        """
        patch.chosen(request.action, ["overwrite"], "overwrite")
        app = call.app
        _check_items(request.concepts)

        def op(tx: Transaction) -> list[ConceptRecord]:
            there = tx.concepts(app.row, [concept.id for concept in request.concepts])
            for position, change in enumerate(request.concepts):
                if change.id not in there:
                    where = ids.at("concepts", position)
                    raise missing(f"{where}: concept {ids.shown(change.id)} does not exist in app {app.id!r}.")
            changed = [_overwrite(tx, app, there[change.id], change) for change in request.concepts]
            concept_names.step(tx)
            return changed

        changed = self._store.write(op)
        concept_names.finish(self._store)
        return _many(app, changed)

    def search(self, call: Call, request: PostConceptsSearchesRequest) -> MultiConceptResponse:
        """Concepts whose name matches a pattern, ordered by name: `*` stands for any text, case does not matter.

        In another language than the app's, names in it are searched and returned; a concept that has none there goes
        by its own name.

        Raises:
            Failure: CONCEPTS_INVALID_REQUEST for a part of the query that is not supported.
        """
        query, page = request.concept_query, pages.of_list(request.pagination.page, request.pagination.per_page)
        _check_query(request)
        app, language = call.app, languages.foreign(call.app, query.language)
        if query.ignore_app_concepts:
            return MultiConceptResponse(status=_ok("The app's own concepts are all there are, and they are ignored."))
        queries, pattern = self._store.read(), query.name or "*"
        if not language:
            return _many(app, queries.search_concepts(app.row, pattern, page.offset, page.limit))
        languages.check(language, "concept_query", StatusCode.CONCEPTS_INVALID_REQUEST)
        found = queries.search_concepts_in(app.row, language, pattern, page.offset, page.limit)
        return MultiConceptResponse(status=_ok(), concepts=[_translated(app, *one) for one in found])

    def counts(self, call: Call, request: GetConceptCountsRequest) -> MultiConceptCountResponse:
        """How many annotations say that a concept is present or absent, in all and by the state of their inputs."""
        page = pages.of_list(request.page, request.per_page)
        tallies = self._store.read().tally_concepts(call.app.row, page.offset, page.limit)
        return MultiConceptCountResponse(status=_ok(), concept_counts=[_count(tally) for tally in tallies])


def new_concept_message(app: AppRecord, concept_id: str, name: str, now_us: int) -> bytes:
    """The message stored with a concept that has just been created; an empty name means the id."""
    return _completed(app, Concept(id=concept_id, name=name), now_us).SerializeToString()


def concept_message(app: AppRecord, record: ConceptRecord) -> Concept:
    """A stored concept as the wire shows it, also when its row holds no message."""
    if record.message:
        return Concept.FromString(record.message)
    return _owned(app, Concept(id=record.id, name=record.name))


def _owned(app: AppRecord, concept: Concept) -> Concept:
    concept.value = 1.0
    concept.language, concept.app_id, concept.user_id = languages.own(app), app.id, app.user_id
    return concept


def _completed(app: AppRecord, posted: Concept, now_us: int) -> Concept:
    concept = _owned(app, Concept())
    concept.MergeFrom(_own_fields(posted))
    concept.id, concept.name = posted.id, posted.name or posted.id
    concept.created_at.FromMicroseconds(now_us)
    return concept


def _own_fields(sent: Concept) -> Concept:
    """What a client may say of a concept; the rest is the server's to say."""
    own = Concept()
    own.CopyFrom(sent)
    for name in _SERVER_FIELDS:
        own.ClearField(name)  # type: ignore[arg-type]
    return own


def _translated(app: AppRecord, record: ConceptRecord, name: ConceptName | None) -> Concept:
    """A concept as it is called in another language; as it is where it has no name there."""
    concept = concept_message(app, record)
    if name is not None:
        concept.name, concept.language = name.name, name.language
        concept.definition = name.definition or concept.definition
    return concept


def _overwrite(tx: Transaction, app: AppRecord, record: ConceptRecord, change: Concept) -> ConceptRecord:
    stored = concept_message(app, record)
    message = patch.apply("overwrite", stored, change, keep=_SERVER_FIELDS)
    result = ConceptRecord(record.row, record.id, message.name, message.SerializeToString())
    tx.update_concept(result.row, result.name, result.message)
    if result.name != record.name:
        concept_names.begin(tx, app.row, result)
    return result


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.CONCEPTS_INVALID_REQUEST, details)


def _check_items(concepts: Sequence[Concept]) -> None:
    if not 1 <= len(concepts) <= MAX_ITEMS:
        raise _refuse(f"concepts holds {len(concepts)} items; send 1 to {MAX_ITEMS} in one call.")
    places: dict[str, int] = {}
    for position, concept in enumerate(concepts):
        where = ids.at("concepts", position)
        ids.check("concept", concept.id, where)
        if concept.id in places:
            first = ids.at("concepts", places[concept.id])
            raise _refuse(f"{where}: duplicate id {concept.id!r}, also in {first}; send each concept once.")
        places[concept.id] = position
        if len(concept.name) > MAX_NAME:
            raise _refuse(f"{where}: the name has {len(concept.name)} characters; use at most {MAX_NAME}.")
        if concept.image.base64:
            raise _refuse(f"{where}: image.base64 cannot be kept with a concept; give image.url instead.")
        if concept.visibility.gettable not in {Visibility.UNKNOWN_VISIBILITY, Visibility.PRIVATE}:
            raise _refuse(f"{where}: concepts belong to their app; leave visibility out.")


def _duplicates(posted: Sequence[Concept], there: Mapping[str, ConceptRecord]) -> Failure:
    named = [f"{ids.at('concepts', i)} {one.id!r}" for i, one in enumerate(posted) if one.id in there]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return _refuse(
        f"Duplicate concept ids, already in the app: {', '.join(named[:_NAMED])}{more}. "
        "Nothing was added; leave them out, or change them with PatchConcepts."
    )


def _check_query(request: PostConceptsSearchesRequest) -> None:
    query = request.concept_query
    if len(query.name) > MAX_NAME:
        raise _refuse(f"concept_query.name has {len(query.name)} characters; use at most {MAX_NAME}.")
    if query.WhichOneof("source") or query.workflow_id or query.use_cases:
        raise _refuse("concept_query: only the app's own concepts can be searched; leave model, workflow, "
                      "workflow_id and use_cases out.")  # fmt: skip
    if request.HasField("extra_info"):
        raise _refuse("extra_info: which concepts a model can rank by is not told; leave it out.")


def _count(tally: ConceptTally) -> ConceptCount:
    count = ConceptCount(id=tally.concept.id, name=tally.concept.name)
    detail = count.detail_concept_count
    parts = {
        StatusCode.INPUT_SUCCESS: detail.processed,
        StatusCode.INPUT_PENDING: detail.to_process,
        StatusCode.INPUT_IN_PROGRESS: detail.processing,
    }
    for part in (detail.processed, detail.to_process, detail.errors, detail.processing):
        part.SetInParent()
    for status, number in tally.positives.items():
        _part(parts, status, detail.errors).positive += number
    for status, number in tally.negatives.items():
        _part(parts, status, detail.errors).negative += number
    count.concept_type_count.positive = sum(tally.positives.values())
    count.concept_type_count.negative = sum(tally.negatives.values())
    return count


def _part(
    parts: Mapping[StatusCode.ValueType, ConceptTypeCount], status: int, errors: ConceptTypeCount
) -> ConceptTypeCount:
    return parts.get(StatusCode.ValueType(status), errors)


def _ok(notes: str = "") -> Status:
    return statuses.status(StatusCode.SUCCESS, notes=notes)


def _many(app: AppRecord, records: Sequence[ConceptRecord]) -> MultiConceptResponse:
    return MultiConceptResponse(status=_ok(), concepts=[concept_message(app, record) for record in records])
