"""Expands concepts along the app's knowledge graph: a dog is an animal, so that who asks for animals finds dogs."""

from __future__ import annotations

from collections.abc import Sequence

from postil.errors import Failure
from postil.store.base import AppRecord, ConceptRecord, Queries
from postil.v1.status_code_pb2 import StatusCode

MAX_CONCEPTS = 10_000  # that concepts may expand to


def expand(queries: Queries, app: AppRecord, concepts: Sequence[ConceptRecord], where: str) -> list[int]:
    """Rows of the concepts and of all that are a kind of them, through any number of steps, ascending.

    Edges of every knowledge graph of the app count. Cycles end where they began.

    Args:
        queries: Reads.
        app: The app.
        concepts: Where to start.
        where: The part of the request that asks, for messages.

    Raises:
        Failure: SEARCH_INVALID_REQUEST when there are more than 10,000.
    """
    found = queries.hyponyms(app.row, [concept.row for concept in concepts], MAX_CONCEPTS)
    if len(found) > MAX_CONCEPTS:
        raise Failure(
            StatusCode.SEARCH_INVALID_REQUEST,
            f"{where}: more than {MAX_CONCEPTS} concepts are kinds of what it names; "
            "name more particular concepts, or leave out expand_hyponyms.",
        )
    return found
