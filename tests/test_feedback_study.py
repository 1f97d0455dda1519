"""The study of what feedback does for searches, in its short form: fewer queries, the same judgement."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.feedback import Figures, run, table, times
from support.server import Server


@pytest.mark.slow
def test_feedback_makes_searches_better(start_server: Callable[..., Server]) -> None:
    rows = list(run(start_server().grpc, 60, (1, 5), (0.0, 8.0), 0.2))
    by = {(row.noise, row.clicks, row.wrong): row for row in rows}
    assert by[8.0, 1, 0.0].gain >= 0.08
    assert by[8.0, 5, 0.0].gain >= 0.3
    assert by[0.0, 5, 0.0].gain > 0.005  # there is little to gain in this sample
    assert by[8.0, 5, 0.2].gain > 0.1
    assert mean_gain(rows, wrong=0.2) > 0.0
    at_five = [row for row in rows if row.clicks == 5 and not row.wrong]
    assert np.mean([row.worse for row in at_five]) <= 0.08  # of 120 queries; the long form has 600
    assert max(change for row in rows for change in row.unrelated) < 0.005
    assert all(same for row in rows for same in row.restored)
    assert table(rows).count("\n") == 2 + len(rows)
    assert "bit by bit" in times(rows)


def mean_gain(rows: list[Figures], wrong: float) -> float:
    return float(np.mean([row.gain for row in rows if row.wrong == wrong]))
