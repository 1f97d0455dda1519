"""Draws moments of a recording and what could have been on the disk then, and looks at each."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from powerloss.check import findings, put
from powerloss.disk import How, Kind
from powerloss.story import Story, record

NAMES = {
    How.NONE: "with nothing that was not synced",
    How.ALL: "with everything written so far",
    How.SOME: "with some unsynced writes and names",
    How.TORN: "with some, torn at sectors",
}
_HOWS = (How.NONE, How.ALL, How.SOME, How.SOME, How.TORN, How.TORN)


@dataclass
class Outcome:
    """Of one recording."""

    events: int = 0
    writes: int = 0
    images: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def examine(folder: Path, seed: int, images: int, writes: int, *, full: bool = True) -> Outcome:
    """Records a run and looks at so many images of it.

    Args:
        folder: Scratch space.
        seed: Draws writes, moments and images.
        images: How many.
        writes: Acknowledged ones in the recording, about.
        full: As the product syncs, or with synchronous=NORMAL.
    """
    story = record(folder, seed, writes, full=full)
    rng = random.Random(seed)
    outcome = Outcome(len(story.disk.events), story.calls)
    for number in range(images):
        upto = moment(story, rng)
        how = rng.choice(_HOWS)
        problems = look(story, upto, how, seed * 1_000_003 + number, folder / "image")
        outcome.images[NAMES[how]] += 1
        if problems:
            outcome.findings.append(
                f"recording {seed}, image {number}, after event {upto} of {outcome.events}, {NAMES[how]}:\n  "
                + "\n  ".join(problems[:5])
            )
    return outcome


def moment(story: Story, rng: random.Random) -> int:
    """After so many events. Half of the time right after an acknowledgement: nothing is synced later by chance."""
    if rng.random() < 0.5:
        told = [at for at, event in enumerate(story.disk.events) if event.kind is Kind.ACKNOWLEDGED]
        return rng.choice(told) + 1
    return rng.randint(0, len(story.disk.events))


def look(story: Story, upto: int, how: How, seed: int, root: Path) -> list[str]:
    """What is wrong with one image."""
    put(story.disk.image(upto, how, random.Random(seed)), root)
    try:
        return list(findings(story, upto, root))
    except Exception as error:  # noqa: BLE001 - whatever it is, the image could not be opened
        return [f"{type(error).__name__}: {error}"]
