"""Reads one `Search` message into a `Query`: rank, metric, exactness and cut-off, with everything else refused.

Filters and several ranks have their place here; until they are built they are refused with the part's name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from postil.core.ranks import Rank, invalid, is_empty, read_rank
from postil.index.base import Metric
from postil.v1.search_pb2 import Query as QueryMessage
from postil.v1.search_pb2 import Search

NEAREST = "nearest_neighbor"
EXACT = "brute_force"
CENTROID = "avg_concept_brute_force"
MAX_END_USER = 256  # characters
ALGORITHMS = (NEAREST, EXACT, CENTROID)

_METRICS = {
    Search.METRIC_NOT_SET: Metric.EUCLIDEAN,
    Search.EUCLIDEAN_DISTANCE: Metric.EUCLIDEAN,
    Search.COSINE_DISTANCE: Metric.COSINE,
}


@dataclass(frozen=True, slots=True)
class Query:
    """One search, read.

    Args:
        rank: What to order by; None: in order of creation, all with score 1.
        metric: Of distances, where the space leaves a choice.
        exact: Compare with every vector instead of walking the graph.
        min_value: Hits below it are dropped.
        language: Of concept names; "" is the app's default.
        expand_hyponyms: A concept also means the kinds of it.
    """

    rank: Rank | None
    metric: Metric
    exact: bool
    min_value: float
    language: str
    expand_hyponyms: bool = False


def read_query(search: Search, where: str) -> Query:
    """Raises Failure 40002 naming the part that is wrong or not built."""
    _check_search(search, where)
    _check_query(search.query, f"{where}.query")
    metric = _METRICS.get(search.metric)
    if metric is None:
        raise invalid(f"{where}.metric {search.metric} is unknown; use EUCLIDEAN_DISTANCE or COSINE_DISTANCE")
    ranks = [
        rank
        for i, message in enumerate(search.query.ranks)
        if (rank := read_rank(message, f"{where}.query.ranks[{i}]")) is not None
    ]
    if len(ranks) > 1:
        raise invalid(f"{ranks[1].where}: several ranks are not combined yet; send one rank in a search")
    return Query(
        rank=ranks[0] if ranks else None,
        metric=metric,
        exact=search.algorithm in {EXACT, CENTROID},
        min_value=search.min_value,
        language=search.query.language,
        expand_hyponyms=search.query.expand_hyponyms,
    )


def _check_search(search: Search, where: str) -> None:
    if search.algorithm and search.algorithm not in ALGORITHMS:
        raise invalid(f"{where}.algorithm {search.algorithm[:80]!r} is unknown; use one of {', '.join(ALGORITHMS)}")
    if math.isnan(search.min_value):
        raise invalid(f"{where}.min_value is not a number; use one between 0 and 1")
    if search.save:
        raise invalid(f"{where}.save: searches that are kept do not run; send them in a call of their own")
    if len(search.end_user_id) > MAX_END_USER:
        raise invalid(f"{where}.end_user_id has {len(search.end_user_id)} characters; use at most {MAX_END_USER}")
    if search.HasField("as_of"):
        raise invalid(f"{where}.as_of: searching the past is not supported yet; leave it out")


def _check_query(query: QueryMessage, where: str) -> None:
    if query.ands:
        raise invalid(f"{where}.ands belongs to the older PostSearches; use filters and ranks here")
    for i, message in enumerate(query.filters):
        empty = not message.negate and not message.HasField("last_updated_time_range")
        if not (empty and is_empty(message.annotation) and is_empty(message.input)):
            raise invalid(f"{where}.filters[{i}]: filters are not supported yet; leave them out or send empty ones")
