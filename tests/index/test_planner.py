"""The planner's choices: which way to search, how widely, and what to merge."""

from __future__ import annotations

import pytest

from postil.index.base import Plan
from postil.index.planner import (
    CROWDED,
    GRAPH_MIN,
    MERGE_AT_ONCE,
    Choice,
    Merge,
    Shape,
    Size,
    band,
    choose,
    choose_merge,
    seal_rows,
    segment_cap,
    width_for,
    width_within,
)

LARGE = Shape(live=100_000, graph_rows=100_000, graphs=1, exact_rows=0)


def plan(shape: Shape, k: int = 10, allowed: int | None = None, *, exact: bool = False, usable: bool = True) -> Choice:
    return choose(shape, k, exact=exact, graph_usable=usable, allowed=allowed)


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (None, Plan.GRAPH),
        (100_000, Plan.GRAPH),
        (50_000, Plan.GRAPH),
        (10_000, Plan.GRAPH),
        (1_000, Plan.GATHER),
        (100, Plan.GATHER),
        (1, Plan.GATHER),
        (0, Plan.EMPTY),
    ],
)
def test_selectivity_picks_the_plan(allowed: int | None, expected: Plan) -> None:
    assert plan(LARGE, allowed=allowed).plan is expected


def test_a_set_that_reaches_beyond_the_space_counts_as_all_of_it() -> None:
    assert plan(LARGE, allowed=10_000_000) == plan(LARGE, allowed=100_000)


def test_scans_where_a_graph_gains_nothing() -> None:
    assert plan(LARGE, exact=True).plan is Plan.SCAN
    assert plan(LARGE, usable=False).plan is Plan.SCAN
    assert plan(LARGE, k=50_000).plan is Plan.SCAN
    assert plan(Shape(2_000, 2_000, 1, 0)).plan is Plan.SCAN
    assert plan(Shape(8_000, 0, 0, 8_000)).plan is Plan.SCAN
    assert plan(LARGE, exact=True, allowed=90_000).plan is Plan.SCAN
    assert plan(LARGE, exact=True, allowed=10_000).plan is Plan.GATHER


def test_nothing_to_search() -> None:
    assert plan(Shape(0, 0, 0, 0)).plan is Plan.EMPTY
    assert plan(Shape(0, 5_000, 1, 10)).plan is Plan.EMPTY
    assert plan(LARGE, k=0).plan is Plan.EMPTY


def test_bands_double_and_widths_grow_with_k_and_shrink_with_graphs() -> None:
    assert [band(k) for k in (1, 10, 11, 20, 21, 1000)] == [10, 10, 20, 20, 40, 1280]
    assert width_for(1, 1) == width_for(10, 1) == 100
    for k in (10, 100, 1000):
        widths = [width_for(k, graphs) for graphs in (1, 2, 4, 8, 12, 24)]
        assert widths == sorted(widths, reverse=True)
        assert width_for(k, 1) > band(k)
        assert width_for(k, 1000) > 0.5 * width_for(k, 1)


def test_under_a_filter_a_walk_is_wider_the_fewer_match() -> None:
    widths = [width_within(10, 1, 100_000, matching) for matching in (100_000, 50_000, 10_000, 5_000, 1_000)]
    assert widths == sorted(widths)
    assert widths[0] >= width_for(10, 1)
    assert all(
        width * matching / 100_000 >= 20
        for width, matching in zip(widths, (100_000, 50_000, 10_000, 5_000, 1_000), strict=True)
    )


def test_sizes_follow_the_dimension() -> None:
    assert (seal_rows(512), segment_cap(512)) == (8192, 262_144)
    assert (seal_rows(8), segment_cap(8)) == (16_384, 262_144)
    assert (seal_rows(4096), segment_cap(4096)) == (GRAPH_MIN, 32_768)


def full(*rows: int) -> list[Size]:
    return [Size(n, n) for n in rows]


def merge(graphs: list[Size], exact: int = 0, *, idle: bool = True) -> Merge | None:
    return choose_merge(graphs, exact, idle=idle, seal=8192, cap=262_144)


def test_a_full_tail_comes_before_everything() -> None:
    assert merge(full(*[8192] * 20), 8192, idle=False) == Merge((), exact=True)
    assert merge([Size(1, 8192)], 9000) == Merge((), exact=True)


def test_while_writes_come_in_segments_are_merged_only_when_crowded() -> None:
    assert merge(full(*[8192] * CROWDED), 100, idle=False) is None
    crowd = merge(full(100_000, *[8192] * CROWDED), 100, idle=False)
    assert crowd == Merge(tuple(range(1, MERGE_AT_ONCE + 1)), exact=False)
    assert merge([Size(10, 8192)], 0, idle=False) is None


def test_when_idle_everything_becomes_one_segment_up_to_the_cap() -> None:
    assert merge(full(*[8192] * 12), 1700) == Merge(tuple(range(12)), exact=True)
    assert merge(full(100_000)) is None
    assert merge(full(262_144, 262_000), 1000) is None
    assert merge(full(262_144, 8192, 8192), 0) == Merge((1, 2), exact=False)
    assert merge(full(200_000, 100_000), 0) is None


def test_a_little_beside_a_lot_is_left_alone() -> None:
    assert merge(full(100_000), 1000) is None
    assert merge([], 1000) is None
    assert merge(full(100_000), 3000) == Merge((), exact=True)
    assert merge(full(100_000, 3000), 0) is None
    assert merge(full(20_000, 3000), 0) == Merge((0, 1), exact=False)
    assert merge(full(100_000, 90_000), 50) == Merge((0, 1), exact=False)


def test_a_segment_with_many_dead_is_rebuilt_when_idle() -> None:
    assert merge([Size(79, 100), Size(100_000, 100_000)]) == Merge((0,), exact=False)
    assert merge([Size(80_000, 100_000)]) is None
    assert merge([Size(0, 10_000)]) == Merge((0,), exact=False)
