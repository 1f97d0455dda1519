"""Opening pictures for core: the same decoders for the whole server, so that their bounds hold for all."""

from __future__ import annotations

from postil.media.pictures import EMBED_SIDE, Opener, Picture


class Opening:
    """Opens pictures. Thread-safe; both methods raise Failure for what is no good picture."""

    def __init__(self, reader: Opener) -> None:
        self._reader = reader

    def to_embed(self, content: bytes) -> Picture:
        """The picture as embedders need it, perhaps smaller than it is."""
        return self._reader.open(content, side=EMBED_SIDE)

    def whole(self, content: bytes) -> Picture:
        """Every pixel of it."""
        return self._reader.open(content)
