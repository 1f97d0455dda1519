"""Hosted media over HTTP: the file as it came, or a smaller version of a picture.

/blobs/DIGEST, /blobs/DIGEST?size=small, /blobs/small/DIGEST: the last is what clients make of HostedURL.prefix, a size
and HostedURL.suffix. Ranges and conditional requests work on all of them; what a digest and a size name never changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from postil.doors.http import media
from postil.errors import Failure

Blob = Callable[[str], Path | None]
Thumbnail = Callable[[str, str, Path], Path]

ORIGINAL = "orig"
_NAME = re.compile(r"([0-9a-f]{64})(?:\.[A-Za-z0-9]{1,8})?")
# A file that somebody else uploaded must neither run nor be taken for anything else.
_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
}


def routes(blob: Blob, thumbnail: Thumbnail, sizes: tuple[str, ...]) -> list[Route]:
    """The routes of hosted media.

    Args:
        blob: Digest (64 hexadecimal digits) to the hosted file, or None; raises Failure when the file is damaged.
        thumbnail: Digest, size and file to the file of the thumbnail; raises Failure when the file is no picture.
        sizes: The names of sizes beside the original.
    """

    def serve(request: Request) -> Response:
        digest, path = _original(request.path_params["name"], blob)
        size = request.path_params.get("size") or request.query_params.get("size") or ORIGINAL
        if size == ORIGINAL:
            return _respond(request, path, digest)
        if size not in sizes:
            raise HTTPException(404, f"there is no such size; {', '.join((ORIGINAL, *sizes))} are")
        try:
            return _respond(request, thumbnail(digest, size, path), f"{digest}-{size}")
        except Failure:
            raise HTTPException(404, "this file is not a picture that has smaller versions") from None
        except FileNotFoundError:
            raise HTTPException(404, "the hosted file is gone") from None
        except OSError as error:
            reason = f"smaller versions cannot be kept ({error.strerror}); the original can be had"
            raise HTTPException(503, reason) from error

    # Clients differ in whether they put a slash after the prefix, which ends with one.
    paths = ("/blobs/{name}", "/blobs/{size}/{name}", "/blobs//{size}/{name}")
    return [Route(path, serve) for path in paths]


def _original(name: str, blob: Blob) -> tuple[str, Path]:
    match = _NAME.fullmatch(name)
    try:
        path = blob(match[1]) if match else None
    except Failure:
        raise HTTPException(500, "the hosted file is damaged; post the same content again to mend it") from None
    if match is None or path is None:
        raise HTTPException(404, "no hosted file has this digest")
    return match[1], path


def _respond(request: Request, path: Path, tag: str) -> Response:
    headers = {**_HEADERS, "etag": f'"{tag}"'}
    if _unchanged(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    try:
        with path.open("rb") as file:
            kind = media.content_type(file.read(media.HEAD))
    except FileNotFoundError:  # swept, or pruned, since
        raise HTTPException(404, "the hosted file is gone") from None
    return FileResponse(path, headers=headers, media_type=kind)


def _unchanged(known: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return etag in tags or "*" in tags
