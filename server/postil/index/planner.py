"""Chooses how to search and what to merge, from counts alone. Pure: no vectors, no files, no clock.

Costs are counted in *vector reads*, the unit that dominates every plan; the dimension cancels out. The constants were
measured with `benchmarks/index.py` on 100,000 clustered vectors of 512 numbers (see docs/adr/0004-index-segments.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from postil.index.base import Plan

# A graph walk reads about this many vectors, at random, for each entry of its candidate list.
READS_PER_WIDTH = 20
# Reading one row at a random place, with the copy, costs this many sequential reads.
GATHER_FACTOR = 2.5
# A graph among many is asked for this many times less than one alone, at most: vectors that were written
# cluster by cluster make graphs that are harder to search than a random mixture.
_MOST_SAVED = 1.7
# What a search under a filter takes more, for the same recall.
_DEEPER = 1.1
# Below this many rows a scan is as fast as a graph with k = 10, and exact.
GRAPH_MIN = 2048
# More live segments than this are merged even while writes come in.
CROWDED = 16
MERGE_AT_ONCE = 8
# When idle, a segment joins a merge unless it is this many times larger than all the smaller ones together.
MERGE_RATIO = 8
DEAD_LIMIT = 0.2


class Shape(NamedTuple):
    """What a search has before it."""

    live: int  # live vectors in all
    graph_rows: int  # vectors held by graphs, dead ones included
    graphs: int  # number of graphs
    exact_rows: int  # vectors outside every graph


class Choice(NamedTuple):
    """How to search."""

    plan: Plan
    width: int  # candidates to take from each graph; 0 unless plan is GRAPH


def band(k: int) -> int:
    """The smallest of 10, 20, 40, ... that holds k. One band shares one candidate list, so that the pages of a
    search agree with each other."""
    width = 10
    while width < k:
        width *= 2
    return width


def width_for(k: int, graphs: int) -> int:
    """Candidates per graph (hnswlib's ef) for recall@k >= 0.99 over `graphs` graphs together.

    Each of several graphs holds only its share of the answer, and finds the first few more surely than the last;
    measured, the cube root keeps the recall level.
    """
    return _shared(_whole(k), graphs)


def width_within(k: int, graphs: int, rows: int, matching: int) -> int:
    """The same where only `matching` of `rows` may be answers, independently of distance. The k-th answer lies deeper
    by rows / matching; measured, recall down to there asks for the square root of that, and chance for k matches."""
    share = matching / rows
    return _shared(max(round(_DEEPER * _whole(k) / math.sqrt(share)), round(2 * k / share)), graphs)


def _whole(k: int) -> int:
    """Candidates from one graph over everything."""
    return 84 + band(k) * 8 // 5


def _shared(whole: int, graphs: int) -> int:
    """Candidates from each of several graphs."""
    return round(whole / min(math.cbrt(max(1, graphs)), _MOST_SAVED))


@lru_cache(1024)
def choose(shape: Shape, k: int, *, exact: bool, graph_usable: bool, allowed: int | None) -> Choice:
    """The cheapest plan that keeps the promise on recall.

    Args:
        shape: What the space holds.
        k: Neighbours asked for.
        exact: The caller wants a scan.
        graph_usable: The graphs order by the metric asked for.
        allowed: Size of the set that limits the answer (it may hold rows of other spaces), or None.
    """
    if not shape.live or k < 1 or allowed == 0:
        return Choice(Plan.EMPTY, 0)
    matching = shape.live if allowed is None else min(allowed, shape.live)
    without_graph = exact_choice(shape, allowed)
    if exact or not graph_usable or not shape.graphs:
        return without_graph
    rows = shape.graph_rows + shape.exact_rows
    whole = matching >= shape.live
    width = width_for(k, shape.graphs) if whole else width_within(k, shape.graphs, rows, matching)
    if walk_cost(shape, width) >= exact_cost(shape, allowed):
        return without_graph
    return Choice(Plan.GRAPH, width)


def exact_choice(shape: Shape, allowed: int | None) -> Choice:
    """The cheaper of the two exact plans."""
    if allowed is not None and min(allowed, shape.live) * GATHER_FACTOR < shape.graph_rows + shape.exact_rows:
        return Choice(Plan.GATHER, 0)
    return Choice(Plan.SCAN, 0)


def exact_cost(shape: Shape, allowed: int | None) -> float:
    """Vector reads of `exact_choice`."""
    rows = shape.graph_rows + shape.exact_rows
    return rows if allowed is None else min(rows, min(allowed, shape.live) * GATHER_FACTOR)


def walk_cost(shape: Shape, width: int) -> float:
    """Vector reads of a graph search with this width, with the exact part beside it."""
    return READS_PER_WIDTH * width * shape.graphs + shape.exact_rows


class Size(NamedTuple):
    """One graph segment, as the merger sees it."""

    live: int
    total: int


class Merge(NamedTuple):
    """What to build into one new segment."""

    segments: tuple[int, ...]  # places in the list of graph segments
    exact: bool  # with what lies outside every graph


def seal_rows(dim: int) -> int:
    """Rows outside every graph from which a segment is built: 16 MiB of vectors, which one core scans in under a
    millisecond; bounded, since few rows need no graph and many cost more than their bytes."""
    return min(16384, max(GRAPH_MIN, (16 << 20) // (4 * dim)))


def segment_cap(dim: int) -> int:
    """Most rows in one merged segment: 512 MiB of vectors, at most 262,144.

    hnswlib holds Python's lock while it saves a graph, 0.6 ms per MiB, and this bounds the pause.
    """
    return max(GRAPH_MIN, min(262144, (512 << 20) // (4 * dim)))


def choose_merge(graphs: Sequence[Size], exact_rows: int, *, idle: bool, seal: int, cap: int) -> Merge | None:
    """What the background builder should do next for a space, or None."""
    if exact_rows >= seal:
        return Merge((), exact=True)
    if not idle:
        return _crowd(graphs, cap) if len(graphs) > CROWDED else None
    for place, size in enumerate(graphs):
        if size.total - size.live > DEAD_LIMIT * size.total:
            return Merge((place,), exact=False)
    return _tier(graphs, exact_rows, cap)


def _crowd(graphs: Sequence[Size], cap: int) -> Merge | None:
    """The smallest segments, as many as fit."""
    chosen: list[int] = []
    rows = 0
    for place in sorted(range(len(graphs)), key=lambda at: graphs[at].live)[:MERGE_AT_ONCE]:
        if rows + graphs[place].live > cap:
            break
        chosen.append(place)
        rows += graphs[place].live
    return Merge(tuple(sorted(chosen)), exact=False) if len(chosen) > 1 else None


def _tier(graphs: Sequence[Size], exact_rows: int, cap: int) -> Merge | None:
    """Small segments and the exact part, growing while the next one is not much larger than what is gathered. A group
    that is not worth a merge gives way to the next larger one."""
    group = _Group([], exact=exact_rows > 0, rows=exact_rows)
    for place in sorted(range(len(graphs)), key=lambda at: graphs[at].live):
        live = graphs[place].live
        if group.rows and group.rows + live > cap:
            break
        if group.rows and live > MERGE_RATIO * group.rows:
            if group.worthwhile:
                break
            group = _Group([], exact=False, rows=0)
        group = _Group([*group.places, place], group.exact, group.rows + live)
    return Merge(tuple(sorted(group.places)), group.exact) if group.worthwhile else None


class _Group(NamedTuple):
    places: list[int]
    exact: bool
    rows: int

    @property
    def worthwhile(self) -> bool:
        """Merging changes something, and there is enough for a graph."""
        return self.rows >= GRAPH_MIN and (self.exact or len(self.places) > 1)
