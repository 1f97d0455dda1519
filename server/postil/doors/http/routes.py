"""The pages of the HTTP door beside the gateway: health, readiness, metrics and hosted media. Errors are JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from postil.doors.http import media
from postil.metrics import CONTENT_TYPE, Metrics

_NAME = re.compile(r"([0-9a-f]{64})(?:\.[A-Za-z0-9]{1,8})?")
# What a digest names never changes. A file that somebody else uploaded must neither run nor be taken for anything else.
_HOSTED = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
}


def build(ready: Callable[[], bool], metrics: Metrics, blob: Callable[[str], Path | None]) -> Starlette:
    """The ASGI application.

    Args:
        ready: Whether calls are welcome.
        metrics: What `/metrics` shows.
        blob: Digest (64 hexadecimal digits) to the hosted file, or None.
    """

    def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def readyz(_request: Request) -> Response:
        is_ready = ready()
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    def metrics_page(_request: Request) -> Response:
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    def hosted(request: Request) -> Response:
        return _hosted(request, blob)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics_page),
            Route("/blobs/{name}", hosted),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


def _hosted(request: Request, blob: Callable[[str], Path | None]) -> Response:
    match = _NAME.fullmatch(request.path_params["name"])
    path = blob(match[1]) if match else None
    if match is None or path is None:
        raise HTTPException(404, "no hosted file has this digest")
    headers = {**_HOSTED, "etag": f'"{match[1]}"'}
    if _unchanged(request.headers.get("if-none-match", ""), headers["etag"]):
        return Response(status_code=304, headers=headers)
    with path.open("rb") as file:
        kind = media.content_type(file.read(media.HEAD))
    return FileResponse(path, headers=headers, media_type=kind)


def _unchanged(known: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return etag in tags or "*" in tags


def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # pragma: no cover - Starlette calls this with nothing else
        return _failed(_request, error)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _failed(_request: Request, _error: Exception) -> Response:
    """Tells nothing: the traceback is in the log."""
    return JSONResponse({"error": "internal error"}, 500)
