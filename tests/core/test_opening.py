"""Opening pictures for embedders: only what all of them look at, else the picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from media import corpus
from postil.core.opening import Opening
from postil.embed.base import Spec
from postil.media.pictures import EMBED_SIDE, PictureReader, Seen
from postil.media.squares import Square, cut

DATA = corpus.encode(corpus.noise(90, 70), "PNG")
SMALL = Spec("small", "a" * 32, "picture", 8, "", square=Square(32, 40))
ALIKE = Spec("alike", "b" * 32, "picture", 16, "", square=Square(32, 40))
OTHER = Spec("other", "c" * 32, "picture", 8, "", square=Square(48, 48))


def opened(*takers: Spec | None) -> Seen:
    return Opening(PictureReader()).to_embed(DATA, takers)


def test_those_that_look_at_the_same_get_no_more() -> None:
    due = cut(PictureReader().open(DATA, side=EMBED_SIDE).image, Square(32, 40))
    for seen in (opened(SMALL), opened(SMALL, ALIKE)):
        assert isinstance(seen.content, np.ndarray)
        assert seen.content.tobytes() == due.tobytes()
        assert seen[1:] == (90, 70, "PNG")


def test_others_get_the_picture() -> None:
    for seen in (opened(), opened(None), opened(SMALL, None), opened(SMALL, OTHER)):
        assert isinstance(seen.content, Image.Image)
        assert seen.content.size == (90, 70)
        assert seen[1:] == (90, 70, "PNG")
