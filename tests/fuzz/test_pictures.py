"""The short form of the picture campaign: a few thousand broken pictures open or are refused with a reason."""

from __future__ import annotations

from itertools import islice

from fuzz import pictures
from postil.errors import Failure
from postil.media.pictures import PictureReader

COUNT, SEED = 4000, 2026


def test_broken_pictures_open_or_are_refused_with_a_reason() -> None:
    wrong = [problem for content in islice(pictures.broken(SEED), COUNT) if (problem := pictures.attempt(content))]
    assert not wrong


def test_the_campaign_breaks_some_and_leaves_some_whole() -> None:
    outcomes: set[str | int] = set()
    for content in islice(pictures.broken(SEED), 300):
        try:
            outcomes.add(PictureReader(pictures.LIMITS).open(content).format)
        except Failure as failure:
            outcomes.add(failure.code)
    assert len(outcomes) >= 6
    assert all(pictures.attempt(content) == "" for content in pictures.honest())
