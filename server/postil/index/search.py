"""Answers one search over an immutable view of a space: candidates by the plan, then exact distances, then the order.

Every plan ends in `_answer`, which measures the candidates by subtraction. So a row's distance does not depend on the
plan, an identical vector is at 0, and ties break by row.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.index import planner
from postil.index.base import Metric, Neighbours, Plan
from postil.index.distance import Query, Spread
from postil.index.part import Graph, Part, Places, Rows, Segment, members
from postil.index.standing import Nearest

# Vectors are gathered and measured this many numbers at a time: 192 KiB stay in a core's cache, and are below what the
# allocator maps anew each time (memory.py), which took several times as long as the measuring.
_CHUNK = 48 << 10
# Candidates that a graph is asked for, at least, for a standing query of which nothing is kept yet.
_WIDE = 1200


class View(NamedTuple):
    """Everything a search needs, at one moment."""

    parts: tuple[Part, ...] = ()
    shape: planner.Shape = planner.Shape(0, 0, 0, 0)
    spread: Spread = Spread()
    deviation: float = 0.0  # of the spread

    @classmethod
    def of(cls, parts: tuple[Part, ...]) -> View:
        """The view of these parts."""
        live = graph_rows = graphs = exact_rows = 0
        spread = Spread()
        for part in parts:
            live += part.live
            spread = spread.join(part.spread)
            if part.graph is None:
                exact_rows += len(part)
            else:
                graphs += 1
                graph_rows += len(part)
        return cls(parts, planner.Shape(live, graph_rows, graphs, exact_rows), spread, spread.deviation)


class _Found(NamedTuple):
    """Candidates in one part. What was left out of it is no nearer than `reach`."""

    part: Part
    places: Places
    distances: NDArray[np.floating]
    reach: float = math.inf
    ordered: bool = False  # nearest first


def run(
    view: View,
    vector: NDArray[np.float32],
    k: int,
    metric: Metric,
    *,
    exact: bool,
    allow: BitMap | None,
    standing: bool = False,
) -> Neighbours:
    """See `SpaceIndex.search`."""
    query = Query(vector, metric, view.spread, view.deviation)
    allowed = None if allow is None else len(allow)
    choice = planner.choose(view.shape, k, exact=exact, graph_usable=query.graph_usable, allowed=allowed)
    if choice.plan is Plan.GRAPH:
        alone = allow is None and len(view.parts) == 1 and not standing
        quick = _quick(view.parts[0], query, k, choice.width) if alone else None
        if quick is not None:
            return quick
        kept = _keep(view.parts, query) if standing else {}
        whole = standing and len(kept) == view.shape.graphs
        width = choice.width if whole or not standing else max(choice.width, _WIDE)
        found = _walk(view, query, k, width, allow, kept)
        if found is not None:
            return _answer(query, found, k, Plan.KEPT if whole else Plan.GRAPH)
        choice = planner.exact_choice(view.shape, allowed)
    if choice.plan is Plan.EMPTY:
        return Neighbours(np.empty(0, np.int64), np.empty(0, np.float32), Plan.EMPTY)
    rows = None if allow is None else members(allow)
    measure = _gather if choice.plan is Plan.GATHER else _scan
    return _answer(query, [measure(part, query, rows) for part in view.parts], k, choice.plan)


def _quick(part: Part, query: Query, k: int, width: int) -> Neighbours | None:
    """`_walk` and `_answer` in one for the usual space at rest: one graph and nothing dead, no filter. None when it
    is not so, or when ties reach beyond what was asked for."""
    graph = part.graph
    if graph is None or part.alive is not None or len(graph.copies) or query.cosine or width >= len(graph):
        return None
    try:
        labels, distances = graph.index.knn_query(query.point, width, num_threads=1)
    except RuntimeError:
        return None
    near = distances[0]
    limit = float(near[k - 1])
    if not limit < near[-1]:
        return None
    count = int(near.searchsorted(limit + abs(limit) * 1e-6 + 2 * query.slack, "right"))
    places = labels[0, :count].view(np.int64)
    rows, exact = part.rows[places], query.exact(part.matrix.take(places, axis=0))
    order = np.lexsort((rows, exact))[:k]
    return Neighbours(rows[order], exact[order].astype(np.float32, copy=False), Plan.GRAPH)


def measure(view: View, vector: NDArray[np.float32], rows: Rows, metric: Metric) -> NDArray[np.float32]:
    """See `SpaceIndex.measure`."""
    query = Query(vector, metric, view.spread, view.deviation)
    out = np.full(len(rows), np.nan, np.float32)
    for part in view.parts:
        places = part.find(rows)
        if len(places):
            out[np.searchsorted(rows, part.rows[places])] = _measure(part, query, places)
    return out


def _keep(parts: tuple[Part, ...], query: Query) -> dict[int, Nearest]:
    """What is kept for a standing query, by place of the part. One segment at most is compared with, so that no search
    takes long; the others are walked widely until their turn comes."""
    found: dict[int, Nearest] = {}
    fresh = False
    for place, part in enumerate(parts):
        if part.graph is None or not isinstance(part.source, Segment):
            continue
        near = part.source.standing.get(query)
        if near is None and not fresh:
            near = part.source.standing.keep(query, query.approximate(part.matrix, part.lengths))
            fresh = True
        if near is not None:
            found[place] = near
    return found


def _walk(
    view: View, query: Query, k: int, width: int, allow: BitMap | None, kept: dict[int, Nearest]
) -> list[_Found] | None:
    """Candidates from the graphs and the exact parts, or None when they may miss an answer.

    Where dead or forbidden rows crowd out the rest, one wider walk is tried as long as it is cheaper than the exact
    plan that would follow.
    """
    allowed = None if allow is None else len(allow)
    while True:
        found = [_walk_part(part, query, width, allow, kept.get(place)) for place, part in enumerate(view.parts)]
        if _complete(found, min(k, view.shape.live)):
            return found
        width *= 4
        if planner.walk_cost(view.shape, width) >= planner.exact_cost(view.shape, allowed):
            return None


def _walk_part(part: Part, query: Query, width: int, allow: BitMap | None, kept: Nearest | None) -> _Found:
    """The nearest of one part, about `width` of them before the dead and the forbidden are left out."""
    if part.graph is None:
        found = _scan(part, query, None)
        if allow is None:
            return found
        found = _nearest(found, width)
    elif kept is not None:
        found = _read(part, kept, width)
    else:
        found = _ask_graph(part, part.graph, query, min(width, len(part.graph)))
    if allow is None and part.alive is None:
        return found
    places, distances = found.places, found.distances
    if part.alive is not None and part.graph is not None:
        keep = part.alive[places]
        places, distances = places[keep], distances[keep]
    if allow is not None:
        keep = np.fromiter(map(allow.__contains__, part.rows[places].tolist()), np.bool_, len(places))
        places, distances = places[keep], distances[keep]
    return found._replace(places=places, distances=distances)


def _read(part: Part, kept: Nearest, width: int) -> _Found:
    """The first of what is kept."""
    places, distances = kept.places[:width].astype(np.int64), kept.distances[:width]
    reach = float(kept.distances[width]) if width < len(kept.places) else kept.reach
    return _Found(part, places, distances, reach, ordered=True)


def _ask_graph(part: Part, graph: Graph, query: Query, width: int) -> _Found:
    """One HNSW walk. A graph that cannot reach `width` of its points (hnswlib then raises) has found nothing."""
    try:
        labels, distances = graph.index.knn_query(query.point, width, num_threads=1)
    except RuntimeError:
        return _Found(part, np.empty(0, np.int64), np.empty(0, np.float32), reach=-math.inf)
    places, near = labels[0].view(np.int64), query.from_graph(distances[0])
    reach = math.inf if width == len(graph) else float(near[-1])
    if not len(graph.copies):
        return _Found(part, places, near, reach, ordered=True)
    return _Found(part, *graph.with_copies(places, near), reach)


def _nearest(found: _Found, width: int) -> _Found:
    """The `width` nearest candidates of a part."""
    if len(found.places) <= width:
        return found
    best = np.argpartition(found.distances, width - 1)[:width]
    distances = found.distances[best]
    return _Found(found.part, found.places[best], distances, float(distances.max()))


def _complete(found: list[_Found], k: int) -> bool:
    """At least k candidates are nearer than anything left out; where ties reach that far, rows would have to decide."""
    reach = min([item.reach for item in found], default=math.inf)
    if reach == math.inf:
        return True
    if len(found) == 1 and found[0].ordered:
        near = found[0].distances
        return len(near) >= k and bool(near[k - 1] < reach)
    return sum(int(np.count_nonzero(item.distances < reach)) for item in found) >= k


def _kth(found: list[_Found], k: int) -> float:
    """The k-th smallest distance, infinite when there are fewer."""
    if len(found) == 1 and found[0].ordered:
        return float(found[0].distances[k - 1])
    distances = np.concatenate([item.distances for item in found]) if len(found) > 1 else found[0].distances
    return math.inf if len(distances) < k else float(np.partition(distances, k - 1)[k - 1])


def _scan(part: Part, query: Query, rows: Rows | None) -> _Found:
    """Distances of every live row, or of those among `rows`."""
    if query.wide:
        return _gather(part, query, rows)
    distances = query.approximate(part.matrix, part.lengths)
    if rows is not None:
        places = part.find(rows)
    elif part.alive is not None:
        places = part.live_places()
    else:
        return _Found(part, np.arange(len(part)), distances)
    return _Found(part, places, distances[places])


def _gather(part: Part, query: Query, rows: Rows | None) -> _Found:
    """Distances of the live rows among `rows`, reading only those vectors."""
    places = part.live_places() if rows is None else part.find(rows)
    distances: NDArray[np.floating] = np.empty(len(places), np.float64 if query.wide else np.float32)
    for piece in _pieces(len(places), part.matrix.shape[1]):
        matrix = part.matrix[places[piece]]
        distances[piece] = query.exact(matrix) if query.wide else query.approximate(matrix, part.lengths[places[piece]])
    return _Found(part, places, distances)


def _answer(query: Query, found: list[_Found], k: int, plan: Plan) -> Neighbours:
    """Measures the candidates that can be among the k nearest exactly, and orders them by (distance, row)."""
    limit = math.inf
    if sum(len(item.places) for item in found) > k:
        limit = _kth(found, k)
        limit += abs(limit) * 1e-6 + 2 * query.slack
    rows: list[Rows] = []
    distances: list[NDArray[np.float32]] = []
    for item in found:
        chosen = item.places[item.distances <= limit] if limit < math.inf else item.places
        if len(chosen):
            rows.append(item.part.rows[chosen])
            distances.append(_measure(item.part, query, chosen))
    all_rows = _joined(rows, np.int64)
    all_distances = _joined(distances, np.float32)
    order = np.lexsort((all_rows, all_distances))[:k]
    return Neighbours(all_rows[order], all_distances[order], plan)


def _measure(part: Part, query: Query, places: Places) -> NDArray[np.float32]:
    """Exact distances, float32 [n]."""
    if not query.wide and len(places) * part.matrix.shape[1] <= _CHUNK:
        return query.exact(part.matrix.take(places, axis=0)).astype(np.float32, copy=False)
    out = np.empty(len(places), np.float32)
    with np.errstate(over="ignore"):  # beyond float32 a distance is infinite, and still in order by row
        for piece in _pieces(len(places), part.matrix.shape[1]):
            out[piece] = query.exact(part.matrix[places[piece]])
    return out


def _joined(arrays: list[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, kind)


def _pieces(n: int, dim: int) -> list[slice]:
    """0..n in slices of about `_CHUNK` numbers of this dimension."""
    step = max(1, _CHUNK // dim)
    return [slice(at, min(n, at + step)) for at in range(0, n, step)]
