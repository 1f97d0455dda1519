"""Where hosted media is served: digest to URL and back."""

from __future__ import annotations

from dataclasses import dataclass

from postil.v1.image_pb2 import HostedURL

_DIGEST_LENGTH = 64
_PATH = "/blobs/"


@dataclass(frozen=True, slots=True)
class Hosting:
    """The HTTP door's public base URL, without a trailing slash."""

    base: str

    def url(self, digest: str) -> str:
        """The stable URL of a blob."""
        return f"{self.base}{_PATH}{digest}"

    def hosted(self, digest: str) -> HostedURL:
        """The message that clients build sized URLs from; only the original size is kept."""
        return HostedURL(prefix=f"{self.base}{_PATH}", suffix=digest, sizes=["orig"])


def digest_of(hosted: HostedURL) -> str:
    """The digest behind a HostedURL, or "" when it is not one of ours."""
    suffix = hosted.suffix
    return suffix if len(suffix) == _DIGEST_LENGTH and hosted.prefix.endswith(_PATH) else ""
