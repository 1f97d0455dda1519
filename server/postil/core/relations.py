"""How concepts relate, and the knowledge graphs that relations belong to.

An edge is stored once and seen from both ends: a hyponym (the subject is a kind of the object) appears as a hypernym
from the other end, a synonym as itself. A hypernym that is posted is stored as the hyponym it is the inverse of, so
that one fact cannot be there twice. `core/hyponyms.py` follows the edges for searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from postil.core import ids, languages, pages, statuses
from postil.core.call import Call
from postil.core.concepts import concept_message
from postil.errors import Failure, missing
from postil.store.base import AppRecord, ConceptRecord, Queries, RelationRecord, Store, Transaction
from postil.v1.concept_pb2 import Concept, ConceptRelation
from postil.v1.concept_service_pb2 import (
    DeleteConceptRelationsRequest,
    ListConceptRelationsRequest,
    MultiConceptRelationResponse,
    PostConceptRelationsRequest,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse

MAX_ITEMS = 128
MAX_DELETED = 1000
GRAPH = "knowledge_graph"  # kind of named thing
INVERSES = {"hyponym": "hypernym", "hypernym": "hyponym", "synonym": "synonym"}
_STORED = ("hyponym", "synonym")
_FIELD = "concept_relations"


class Relations:
    """The relations between an app's concepts. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, request: PostConceptRelationsRequest) -> MultiConceptRelationResponse:
        """Adds edges from one concept, all or none; gives them back as they were posted.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when there is no such concept; CONCEPTS_INVALID_REQUEST for an edge or an id
                that is there already, an unknown predicate, object or graph, or a concept related to itself.
        """
        app, sent = call.app, request.concept_relations
        if not 1 <= len(sent) <= MAX_ITEMS:
            raise _refuse(f"{_FIELD} holds {len(sent)} items; send 1 to {MAX_ITEMS} in one call.")
        for i, one in enumerate(sent):
            _check(one, request.concept_id, ids.at(_FIELD, i))

        def op(tx: Transaction) -> list[ConceptRelation]:
            subject = _concept(tx, app, request.concept_id)
            added = [_added(tx, app, subject, one, ids.at(_FIELD, i)) for i, one in enumerate(sent)]
            return _shown(tx, app, [_seen_from(subject.row, edge) for edge in added])

        return _many(self._store.write(op))

    def list(self, call: Call, request: ListConceptRelationsRequest) -> MultiConceptRelationResponse:
        """Edges in order of creation: seen from a concept, or without one each once.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when there is no such concept; CONCEPTS_INVALID_REQUEST for a predicate that
                we do not know.
        """
        page, app, queries = pages.of_list(request.page, request.per_page), call.app, self._store.read()
        predicate, graph = request.predicate, request.knowledge_graph_id
        _check_predicate(predicate or "synonym", "predicate")
        if request.concept_id:
            concept = _concept(queries, app, request.concept_id)
            roles = _roles(predicate)
            edges = queries.relations_of(app.row, concept.row, roles, graph, page.offset, page.limit)
            return _many(_shown(queries, app, [_seen_from(concept.row, edge) for edge in edges]))
        stored = INVERSES[predicate] if predicate == "hypernym" else predicate
        edges = queries.list_relations(app.row, stored, graph, page.offset, page.limit)
        return _many(_shown(queries, app, [_turned(edge) if stored != predicate else edge for edge in edges]))

    def delete(self, call: Call, request: DeleteConceptRelationsRequest) -> BaseResponse:
        """Deletes edges of a concept, whichever end of them it is; passes over those that are not there.

        Raises:
            Failure: CONN_DOES_NOT_EXIST when there is no such concept; CONCEPTS_INVALID_REQUEST for none or too many.
        """
        wanted = list(dict.fromkeys(request.ids))
        if not 1 <= len(wanted) <= MAX_DELETED:
            raise _refuse(f"ids holds {len(wanted)} ids of relations; send 1 to {MAX_DELETED}.")
        app = call.app

        def op(tx: Transaction) -> None:
            concept = _concept(tx, app, request.concept_id)
            edges = tx.relations(app.row, wanted).values()
            tx.delete_relations(app.row, [edge.row for edge in edges if concept.row in {edge.subject, edge.object}])

        self._store.write(op)
        return BaseResponse(status=statuses.status(StatusCode.SUCCESS))


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.CONCEPTS_INVALID_REQUEST, details)


def _concept(queries: Queries, app: AppRecord, concept_id: str) -> ConceptRecord:
    record = queries.concept(app.row, concept_id)
    if record is None:
        raise missing(f"Concept {ids.shown(concept_id)} does not exist in app {app.id!r}.")
    return record


def _check(one: ConceptRelation, subject: str, where: str) -> None:
    if one.id:
        ids.check("relation", one.id, where)
    _check_predicate(one.predicate, f"{where}.predicate")
    if one.subject_concept.id not in {"", subject}:
        raise _refuse(
            f"{where}.subject_concept is {ids.shown(one.subject_concept.id)}, but the call is about "
            f"{ids.shown(subject)}; leave it out."
        )
    if not one.object_concept.id and not one.object_concept.name:
        raise _refuse(f"{where}.object_concept has neither id nor name; say what {ids.shown(subject)} relates to.")


def _check_predicate(predicate: str, where: str) -> None:
    if predicate not in INVERSES:
        raise _refuse(f"{where} is {ids.shown(predicate)}; use hyponym, hypernym or synonym.")


def _added(tx: Transaction, app: AppRecord, subject: ConceptRecord, one: ConceptRelation, where: str) -> RelationRecord:
    object_ = _object(tx, app, one.object_concept, f"{where}.object_concept")
    graph = one.knowledge_graph_id
    if object_.row == subject.row:
        raise _refuse(f"{where}.object_concept: {ids.shown(subject.id)} cannot be related to itself.")
    if graph and tx.named(app.row, GRAPH, graph) is None:
        raise _refuse(f"{where}.knowledge_graph_id: there is no knowledge graph {ids.shown(graph)}; post it first.")
    rest = ConceptRelation(visibility=one.visibility if one.HasField("visibility") else None)
    edge = RelationRecord(
        0, one.id or ids.new_id(), subject.row, one.predicate, object_.row, graph, rest.SerializeToString()
    )
    if edge.predicate not in _STORED:
        edge = _turned(edge)
    same = [edge, _turned(edge)] if edge.predicate == "synonym" else [edge]
    for way in same:
        there = tx.find_relation(app.row, way.subject, way.predicate, way.object, graph)
        if there is not None:
            raise _refuse(f"{where}: duplicate relation: it is there under the id {ids.shown(there.id)}.")
    if tx.relation(app.row, edge.id) is not None:
        raise _refuse(f"{where}: duplicate id {ids.shown(edge.id)}; choose another, or leave it out.")
    return tx.add_relation(app.row, edge)


def _object(queries: Queries, app: AppRecord, concept: Concept, where: str) -> ConceptRecord:
    """By id, else by name."""
    if concept.id:
        record = queries.concept(app.row, concept.id)
        found = [record] if record else []
    else:
        found = languages.find(queries, app, concept.name, languages.foreign(app, concept.language))
    if len(found) != 1:
        many = f"{len(found)} concepts are" if found else "no concept is"
        raise _refuse(f"{where}: {many} called {ids.shown(concept.id or concept.name)} in app {app.id!r}.")
    return found[0]


def _roles(predicate: str) -> list[tuple[str, bool]]:
    """(stored predicate, whether the concept is the subject) of the edges that look like `predicate` from a concept."""
    wanted = [predicate] if predicate else list(INVERSES)
    roles = [(one, True) for one in wanted if one in _STORED]
    return roles + [(INVERSES[one], False) for one in wanted if INVERSES[one] in _STORED]


def _turned(edge: RelationRecord) -> RelationRecord:
    """The same fact, told from the other end."""
    return edge._replace(subject=edge.object, object=edge.subject, predicate=INVERSES[edge.predicate])


def _seen_from(concept: int, edge: RelationRecord) -> RelationRecord:
    return edge if edge.subject == concept else _turned(edge)


def _shown(queries: Queries, app: AppRecord, edges: Sequence[RelationRecord]) -> list[ConceptRelation]:
    rows = {row for edge in edges for row in (edge.subject, edge.object)}
    concepts = {row: concept_message(app, record) for row, record in queries.concepts_by_row(sorted(rows)).items()}
    return [_message(edge, concepts) for edge in edges]


def _message(edge: RelationRecord, concepts: Mapping[int, Concept]) -> ConceptRelation:
    message = ConceptRelation.FromString(edge.message)
    message.id, message.predicate, message.knowledge_graph_id = edge.id, edge.predicate, edge.graph
    message.subject_concept.CopyFrom(concepts[edge.subject])
    message.object_concept.CopyFrom(concepts[edge.object])
    return message


def _many(relations: Iterable[ConceptRelation]) -> MultiConceptRelationResponse:
    return MultiConceptRelationResponse(status=statuses.status(StatusCode.SUCCESS), concept_relations=relations)
