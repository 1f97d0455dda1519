"""Reads one `Search` message into a `Query`: filters, ranks, metric, exactness, time and cut-off."""

from __future__ import annotations

import math
from dataclasses import dataclass

from postil.core import languages
from postil.core.filters import Filter, read_filters
from postil.core.ranks import Rank, invalid, read_ranks
from postil.core.times import microseconds
from postil.index.base import Metric
from postil.v1.common_pb2 import Learning
from postil.v1.search_pb2 import Query as QueryMessage
from postil.v1.search_pb2 import Search
from postil.v1.status_code_pb2 import StatusCode

NEAREST = "nearest_neighbor"
EXACT = "brute_force"
CENTROID = "avg_concept_brute_force"
MAX_END_USER = 256  # characters
MAX_LANGUAGE = 30  # characters; no code is longer
ALGORITHMS = (NEAREST, EXACT, CENTROID)

_METRICS = {
    Search.METRIC_NOT_SET: Metric.EUCLIDEAN,
    Search.EUCLIDEAN_DISTANCE: Metric.EUCLIDEAN,
    Search.COSINE_DISTANCE: Metric.COSINE,
}


_LEARNING = frozenset(Learning.values())


@dataclass(frozen=True, slots=True)
class Query:
    """One search, read.

    Args:
        ranks: What to order by; none: in order of creation, all with score 1.
        metric: Of distances, where the space leaves a choice.
        exact: Compare with every vector instead of walking the graph.
        min_value: Hits below it are dropped.
        language: Of concept names; "" is the app's default.
        expand_hyponyms: A concept also means the kinds of it.
        filters: What must hold.
        as_of_us: Only annotations that were there at this time, in microseconds since the epoch.
        debug: Tell how it was answered.
        learning: Whose clicks it learns from (postil.v1.Learning).
        end_user: Who searches, as the application knows them.
    """

    ranks: tuple[Rank, ...]
    metric: Metric
    exact: bool
    min_value: float
    language: str
    expand_hyponyms: bool = False
    filters: tuple[Filter, ...] = ()
    as_of_us: int | None = None
    debug: bool = False
    learning: int = Learning.LEARNING_NOT_SET
    end_user: str = ""

    @property
    def rank(self) -> Rank | None:
        """The one rank over everything, where the search is no more than that."""
        return self.ranks[0] if len(self.ranks) == 1 and self.unfiltered else None

    @property
    def unfiltered(self) -> bool:
        """Every annotation of the app may be a hit."""
        return not self.filters and self.as_of_us is None


def read_query(search: Search, where: str) -> Query:
    """Raises Failure 40002 naming the part that is wrong or not built."""
    _check_search(search, where)
    _check_query(search.query, f"{where}.query")
    metric = _METRICS.get(search.metric)
    if metric is None:
        raise invalid(f"{where}.metric {search.metric} is unknown; use EUCLIDEAN_DISTANCE or COSINE_DISTANCE")
    if len(search.query.language) > MAX_LANGUAGE:  # whatever it is: it is read where a name needs it, and kept
        languages.check(search.query.language, f"{where}.query.language", StatusCode.SEARCH_INVALID_REQUEST)
    return Query(
        ranks=read_ranks(search.query.ranks, f"{where}.query.ranks"),
        metric=metric,
        exact=search.algorithm in {EXACT, CENTROID},
        min_value=search.min_value,
        language=search.query.language,
        expand_hyponyms=search.query.expand_hyponyms,
        filters=read_filters(search.query.filters, f"{where}.query.filters"),
        as_of_us=microseconds(search.as_of, f"{where}.as_of") if search.HasField("as_of") else None,
        debug=search.debug,
        learning=search.learning,
        end_user=search.end_user_id,
    )


def _check_search(search: Search, where: str) -> None:
    if search.algorithm and search.algorithm not in ALGORITHMS:
        raise invalid(f"{where}.algorithm {search.algorithm[:80]!r} is unknown; use one of {', '.join(ALGORITHMS)}")
    if math.isnan(search.min_value):
        raise invalid(f"{where}.min_value is not a number; use one between 0 and 1")
    if search.save:
        raise invalid(f"{where}.save: searches that are kept do not run; send them in a call of their own")
    if search.learning not in _LEARNING:
        raise invalid(f"{where}.learning {search.learning} is unknown; use one of {', '.join(Learning.keys())}")
    if len(search.end_user_id) > MAX_END_USER:
        raise invalid(f"{where}.end_user_id has {len(search.end_user_id)} characters; use at most {MAX_END_USER}")


def _check_query(query: QueryMessage, where: str) -> None:
    if query.ands:
        raise invalid(f"{where}.ands belongs to the older PostSearches; use filters and ranks here")
