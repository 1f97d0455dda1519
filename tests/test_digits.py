"""The study of digits in a small form: its figures point the right way. `make bench-models` measures the long form."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from benchmarks.models_digits import Scale, Study
from support.server import Server

SMALL = Scale(digits=400, test=150, goal=0.9, splits=1, folds=1, step=20)

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    server = Server(tmp_path_factory.mktemp("digits"))
    with grpc.insecure_channel(server.grpc) as channel:
        yield Study(channel, SMALL)
    server.stop()


def test_digits_are_learned(study: Study) -> None:
    assert study.cross_validated(0) > 0.9


def test_suggestions_need_fewer_labels_than_chance(study: Study) -> None:
    at_random = study.labels_needed(0, suggest=False)
    assert study.labels_needed(0, suggest=True) < at_random


def test_wrong_labels_are_found(study: Study) -> None:
    chance = 0.05  # the share of labels that are wrong
    assert study.flipped(0) > 10 * chance
