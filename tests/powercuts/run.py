"""Servers, clients and checks of `make crash` on a disk that, at each death, also forgets what was not synced."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from crash.supervisor import Supervisor
from powercuts.lossy import HOWS, LossyDisk


def run(
    folder: Path,
    seed: int,
    cuts: int,
    *,
    lie: bool = False,
    go_on: Callable[[], bool] = lambda: True,
    tell: Callable[[str], object] = lambda _: None,
) -> list[str]:
    """Cuts the power so many times.

    Args:
        folder: For the disk; on a RAM disk, so that the one below is not what is waited for.
        seed: Draws everything that is not up to the scheduler.
        cuts: How often.
        lie: The disk only says that it has synced.
        go_on: Asked before each life.
        tell: Hears how far it is.

    Returns:
        What was done, for people.

    Raises:
        Broken: A promise did not hold. What the disk had is in `folder`/kept.
        OSError: There is no FUSE here.
    """
    draw, hows = random.Random(seed), Counter[str]()
    with LossyDisk(folder, lie=lie) as disk:

        def power() -> None:
            how = draw.choice(HOWS)
            hows[how] += 1
            disk.cut(how, draw.getrandbits(32))

        supervisor = Supervisor(disk.path, seed, died=power)
        try:
            while supervisor.tally.all_kills < cuts and go_on():
                supervisor.run()
                if supervisor.tally.all_kills % 20 == 0:
                    tell(f"{hows.total()} cuts, {supervisor.tally.items} items acknowledged")
            supervisor.close()
        finally:
            supervisor.release()  # before the disk goes
    said = f"{hows['all']} lost all that was not synced, {hows['some']} some writes, {hows['torn']} sectors of writes"
    return [f"The power was cut {hows.total()} times: {said}.", *supervisor.tally.lines()]
