"""Masks: pictures in which every pixel that is not black belongs to the region."""

from __future__ import annotations

from postil.core.hosting import Hosting
from postil.core.opening import Opening
from postil.errors import Failure
from postil.store.base import Blobs
from postil.v1.data_pb2 import BoundingBox, Mask
from postil.v1.status_code_pb2 import StatusCode


class Masks:
    """Takes mask pictures in."""

    def __init__(self, blobs: Blobs, hosting: Hosting, opening: Opening) -> None:
        self._blobs = blobs
        self._hosting = hosting
        self._opening = opening

    def take(self, mask: Mask) -> tuple[str, BoundingBox]:
        """Moves the mask's bytes into a blob and points its url there.

        Returns:
            The blob's digest and the smallest box around the region.

        Raises:
            Failure: When the bytes are no picture, or all of it is black.
        """
        picture = self._opening.whole(mask.image.base64)
        around = picture.image.convert("L").getbbox()
        if around is None:
            raise Failure(StatusCode.ANNOTATION_INVALID_ARGUMENT, "its mask is black all over; paint the region white")
        left, top, right, bottom = around
        width, height = picture.image.size
        digest = self._blobs.put(mask.image.base64)
        mask.image.ClearField("base64")
        mask.image.url = self._hosting.url(digest)
        mask.image.hosted.CopyFrom(self._hosting.hosted(digest, picture=True))
        mask.image.image_info.width, mask.image.image_info.height = picture.width, picture.height
        mask.image.image_info.format = picture.format
        box = BoundingBox(
            top_row=top / height, left_col=left / width, bottom_row=bottom / height, right_col=right / width
        )
        return digest, box
