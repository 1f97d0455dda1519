"""Knowledge graphs, the named sets that relations may belong to (`core/relations.py`): posted and listed."""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import ids, statuses
from postil.core.call import Call
from postil.core.relations import GRAPH
from postil.errors import Failure
from postil.store.base import Store, Transaction
from postil.v1.concept_pb2 import KnowledgeGraph
from postil.v1.concept_service_pb2 import (
    ListKnowledgeGraphsRequest,
    MultiKnowledgeGraphResponse,
    PostKnowledgeGraphsRequest,
)
from postil.v1.status_code_pb2 import StatusCode

MAX_ITEMS = 128
MAX_GRAPHS = 1000  # of an app: they are listed without pages
MAX_NAME = 256  # characters
MAX_DESCRIPTION = 10_000  # characters
_FIELD = "knowledge_graphs"


class KnowledgeGraphs:
    """The knowledge graphs of an app. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def post(self, call: Call, request: PostKnowledgeGraphsRequest) -> MultiKnowledgeGraphResponse:
        """Adds graphs, all or none; a name that is not given is the id.

        Raises:
            Failure: CONCEPTS_INVALID_REQUEST for an id that is there or comes twice, or a text that is too long;
                CONN_INVALID_REQUEST for an id that breaks a rule.
        """
        app, sent = call.app, request.knowledge_graphs
        _check(sent)

        def op(tx: Transaction) -> list[KnowledgeGraph]:
            there = tx.named_many(app.row, GRAPH, [graph.id for graph in sent])
            for i, graph in enumerate(sent):
                if graph.id in there:
                    raise _refuse(f"{ids.at(_FIELD, i)}: duplicate id {ids.shown(graph.id)}, already in the app.")
            if len(tx.list_named(app.row, GRAPH, 0, MAX_GRAPHS)) + len(sent) > MAX_GRAPHS:
                raise _refuse(f"An app has at most {MAX_GRAPHS} knowledge graphs; nothing was added.")
            made = [_completed(graph) for graph in sent]
            for one in made:
                tx.add_named(app.row, GRAPH, one.id, "", one.SerializeToString())
            return made

        return _many(self._store.write(op))

    def list(self, call: Call, request: ListKnowledgeGraphsRequest) -> MultiKnowledgeGraphResponse:
        """All of them, in order of creation."""
        del request
        records = self._store.read().list_named(call.app.row, GRAPH, 0, MAX_GRAPHS)
        return _many([KnowledgeGraph.FromString(record.message) for record in records])


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.CONCEPTS_INVALID_REQUEST, details)


def _check(sent: Sequence[KnowledgeGraph]) -> None:
    if not 1 <= len(sent) <= MAX_ITEMS:
        raise _refuse(f"{_FIELD} holds {len(sent)} items; send 1 to {MAX_ITEMS} in one call.")
    places: dict[str, int] = {}
    for i, graph in enumerate(sent):
        where = ids.at(_FIELD, i)
        ids.check("knowledge graph", graph.id, where)
        if graph.id in places:
            raise _refuse(f"{where}: duplicate id {ids.shown(graph.id)}, also in {ids.at(_FIELD, places[graph.id])}.")
        places[graph.id] = i
        limits = {"name": MAX_NAME, "description": MAX_DESCRIPTION}
        limits |= {"examples_app_id": ids.MAX_LENGTH, "sampled_examples_app_id": ids.MAX_LENGTH}
        for name, limit in limits.items():
            length = len(getattr(graph, name))
            if length > limit:
                raise _refuse(f"{where}.{name} has {length} characters; use at most {limit}.")


def _completed(sent: KnowledgeGraph) -> KnowledgeGraph:
    return KnowledgeGraph(
        id=sent.id,
        name=sent.name or sent.id,
        description=sent.description,
        examples_app_id=sent.examples_app_id,
        sampled_examples_app_id=sent.sampled_examples_app_id,
    )


def _many(graphs: Sequence[KnowledgeGraph]) -> MultiKnowledgeGraphResponse:
    return MultiKnowledgeGraphResponse(status=statuses.status(StatusCode.SUCCESS), knowledge_graphs=graphs)
