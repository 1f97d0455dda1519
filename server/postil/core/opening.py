"""Opening pictures for core: the same decoders for the whole server, so that their bounds hold for all."""

from __future__ import annotations

from collections.abc import Iterable

from postil.embed.base import Spec
from postil.media.pictures import EMBED_SIDE, Opener, Picture, Seen


class Opening:
    """Opens pictures. Thread-safe; both methods raise Failure for what is no good picture."""

    def __init__(self, reader: Opener) -> None:
        self._reader = reader

    def to_embed(self, content: bytes, takers: Iterable[Spec | None]) -> Seen:
        """The picture as embedders need it: all that they look at when they look at the same square of it, else the
        picture, perhaps smaller than it is. Their vectors are the same either way.

        Args:
            content: The file.
            takers: Who gets it; None for one that is not known.
        """
        squares = {taker.square if taker else None for taker in takers}
        square = squares.pop() if len(squares) == 1 else None
        if square is not None:
            return self._reader.square(content, square)
        return Seen(*self._reader.open(content, side=EMBED_SIDE))

    def whole(self, content: bytes) -> Picture:
        """Every pixel of it."""
        return self._reader.open(content)
