"""What concepts are called in other languages: added, read, changed.

In the app's own language a concept has its own name, which is not kept here.
"""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import ids, languages, pages, patch, statuses
from postil.core.call import Call
from postil.core.concepts import concept_message
from postil.core.labels import MAX_NAME
from postil.errors import Failure, missing
from postil.store.base import AppRecord, ConceptName, ConceptRecord, Queries, Store, Transaction
from postil.v1.concept_pb2 import ConceptLanguage
from postil.v1.concept_service_pb2 import (
    GetConceptLanguageRequest,
    ListConceptLanguagesRequest,
    MultiConceptLanguageResponse,
    PatchConceptLanguagesRequest,
    PostConceptLanguagesRequest,
    SingleConceptLanguageResponse,
)
from postil.v1.status_code_pb2 import StatusCode

MAX_ITEMS = 128
MAX_DEFINITION = 10_000  # characters
_FIELD = "concept_languages"


class ConceptLanguages:
    """The names of an app's concepts in other languages. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, request: PostConceptLanguagesRequest) -> MultiConceptLanguageResponse:
        """Adds names, all or none.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when there is no such concept; CONCEPTS_INVALID_REQUEST for a language that
                is there already or comes twice, the app's own, or a name that cannot be kept.
        """
        app, sent = call.app, list(request.concept_languages)
        _check_items(sent, app)
        for i, one in enumerate(sent):
            if not one.name:
                raise _refuse(f"{ids.at(_FIELD, i)}: the name is empty; say what the concept is called in {one.id!r}.")

        def op(tx: Transaction) -> None:
            concept = _concept(tx, app, request.concept_id)
            for i, one in enumerate(sent):
                there = tx.concept_name(concept.row, one.id)
                if there is not None:
                    raise _refuse(
                        f"{ids.at(_FIELD, i)}: duplicate language {one.id!r}: concept {ids.shown(concept.id)} is "
                        f"called {ids.shown(there.name)} there; change it with PatchConceptLanguages."
                    )
                tx.put_concept_name(app.row, ConceptName(concept.row, one.id, one.name, one.definition))

        self._store.write(op)
        return _many(sent)

    def get(self, call: Call, request: GetConceptLanguageRequest) -> SingleConceptLanguageResponse:
        """The name in one language; in the app's own, the concept's own. Raises Failure CONN_DOES_NOT_EXIST."""
        queries, app = self._store.read(), call.app
        concept = _concept(queries, app, request.concept_id)
        if request.language == languages.own(app):
            definition = concept_message(app, concept).definition
            name: ConceptName | None = ConceptName(concept.row, request.language, concept.name, definition)
        else:
            name = queries.concept_name(concept.row, request.language)
        if name is None:
            raise missing(f"Concept {ids.shown(concept.id)} has no name in {ids.shown(request.language)}.")
        return SingleConceptLanguageResponse(
            status=statuses.status(StatusCode.SUCCESS), concept_language=_message(name)
        )

    def list(self, call: Call, request: ListConceptLanguagesRequest) -> MultiConceptLanguageResponse:
        """All but the concept's own name, ordered by code. Raises Failure CONN_DOES_NOT_EXIST."""
        page, queries = pages.of_list(request.page, request.per_page), self._store.read()
        concept = _concept(queries, call.app, request.concept_id)
        return _many([_message(name) for name in queries.concept_names(concept.row, page.offset, page.limit)])

    def patch(self, call: Call, request: PatchConceptLanguagesRequest) -> MultiConceptLanguageResponse:
        """Changes names, all or none.

        `overwrite` makes name and definition of each language what was sent. `merge` leaves what is not sent as it
        was, and adds a language that is not there.

        Raises:
            Failure: CONN_INVALID_REQUEST for another action; CONN_DOES_NOT_EXIST when the concept is not there, or
                with overwrite the language; CONCEPTS_INVALID_REQUEST for a name that cannot be kept.
        """
        action = patch.chosen(request.action, ["overwrite", "merge"], "overwrite")
        app, sent = call.app, list(request.concept_languages)
        _check_items(sent, app)

        def op(tx: Transaction) -> list[ConceptLanguage]:
            concept = _concept(tx, app, request.concept_id)
            changed = []
            for i, one in enumerate(sent):
                there = tx.concept_name(concept.row, one.id)
                changed.append(_changed(there, one, action, concept, ids.at(_FIELD, i)))
                tx.put_concept_name(app.row, changed[-1])
            return [_message(name) for name in changed]

        return _many(self._store.write(op))


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.CONCEPTS_INVALID_REQUEST, details)


def _concept(queries: Queries, app: AppRecord, concept_id: str) -> ConceptRecord:
    record = queries.concept(app.row, concept_id)
    if record is None:
        raise missing(f"Concept {ids.shown(concept_id)} does not exist in app {app.id!r}.")
    return record


def _check_items(sent: Sequence[ConceptLanguage], app: AppRecord) -> None:
    if not 1 <= len(sent) <= MAX_ITEMS:
        raise _refuse(f"{_FIELD} holds {len(sent)} items; send 1 to {MAX_ITEMS} in one call.")
    places: dict[str, int] = {}
    for i, one in enumerate(sent):
        where = ids.at(_FIELD, i)
        languages.check(one.id, where, StatusCode.CONCEPTS_INVALID_REQUEST)
        if one.id == languages.own(app):
            raise _refuse(f"{where}: {one.id!r} is the app's own language; change the name with PatchConcepts.")
        if one.id in places:
            raise _refuse(f"{where}: duplicate language {one.id!r}, also in {ids.at(_FIELD, places[one.id])}.")
        places[one.id] = i
        if len(one.name) > MAX_NAME:
            raise _refuse(f"{where}: the name has {len(one.name)} characters; use at most {MAX_NAME}.")
        if len(one.definition) > MAX_DEFINITION:
            raise _refuse(
                f"{where}: the definition has {len(one.definition)} characters; use at most {MAX_DEFINITION}."
            )


def _changed(
    there: ConceptName | None, sent: ConceptLanguage, action: str, concept: ConceptRecord, where: str
) -> ConceptName:
    if there is None and action == "overwrite":
        raise missing(
            f"{where}: concept {ids.shown(concept.id)} has no name in {sent.id!r} yet; "
            "add it with PostConceptLanguages, or with the action merge."
        )
    if action == "overwrite" or there is None:
        there = ConceptName(concept.row, sent.id, "", "")
    result = there._replace(name=sent.name or there.name, definition=sent.definition or there.definition)
    if not result.name:
        raise _refuse(f"{where}: the name is empty; say what the concept is called in {sent.id!r}.")
    return result


def _message(name: ConceptName) -> ConceptLanguage:
    return ConceptLanguage(id=name.language, name=name.name, definition=name.definition)


def _many(found: Sequence[ConceptLanguage]) -> MultiConceptLanguageResponse:
    return MultiConceptLanguageResponse(status=statuses.status(StatusCode.SUCCESS), concept_languages=found)
