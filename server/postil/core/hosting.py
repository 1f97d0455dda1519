"""Where hosted media is served: digest to URL and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from postil.errors import Failure
from postil.media.thumbnails import SIZES
from postil.store.base import Blobs, Corrupt
from postil.v1.data_pb2 import Data
from postil.v1.dataset_pb2 import DatasetVersionInput
from postil.v1.image_pb2 import HostedURL
from postil.v1.status_code_pb2 import StatusCode

_DIGEST_LENGTH = 64
_PATH = "/blobs/"


@dataclass(frozen=True, slots=True)
class Hosting:
    """The HTTP door's public base URL, without a trailing slash."""

    base: str

    def url(self, digest: str) -> str:
        """The stable URL of a blob."""
        return f"{self.base}{_PATH}{digest}"

    def hosted(self, digest: str, *, picture: bool) -> HostedURL:
        """The message that clients build sized URLs from. Only pictures have smaller versions."""
        return HostedURL(prefix=self.prefix, suffix=digest, sizes=["orig", *(SIZES if picture else ())])

    @property
    def prefix(self) -> str:
        """What stands before a size or a digest."""
        return f"{self.base}{_PATH}"


class Hosted:
    """What is served to whoever knows a digest."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def path(self, digest: str) -> Path | None:
        """The file, or None. Raises Failure INTERNAL_DATABASE_ISSUE when it is not what was put."""
        try:
            return self._blobs.checked(digest)
        except Corrupt as error:
            raise Failure(StatusCode.INTERNAL_DATABASE_ISSUE, str(error)) from error


def digest_of(hosted: HostedURL) -> str:
    """The digest behind a HostedURL, or "" when it is not one of ours."""
    suffix = hosted.suffix
    return suffix if len(suffix) == _DIGEST_LENGTH and hosted.prefix.endswith(_PATH) else ""


def hosted_digests(inputs: Iterable[DatasetVersionInput]) -> frozenset[str]:
    """The digests of what we host for these inputs and their annotations: media and masks."""
    found: set[str] = set()
    for one in inputs:
        for data in (one.input.data, *(annotation.data for annotation in one.annotations)):
            found.update(map(digest_of, _hosted(data)))
    return frozenset(found - {""})


def _hosted(data: Data) -> Iterator[HostedURL]:
    for medium in (data.image, data.video, data.audio, data.text):
        yield medium.hosted
    for region in data.regions:
        yield region.region_info.mask.image.hosted
