"""The description of the JSON door, and a page that draws it from files in this package: nothing comes from elsewhere.

`openapi.json` is made from the protos by `make protos` (tools/openapi.py).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_ASSETS = files("postil.doors.http") / "assets"
_PAGES = {
    "/openapi.json": ("openapi.json", "application/json"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs/docs.css": ("docs.css", "text/css; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    "cache-control": "no-cache",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'",
}


def routes() -> list[Route]:
    """The routes of the description and its page."""
    return [_route(path, name, kind) for path, (name, kind) in _PAGES.items()]


def _route(path: str, name: str, kind: str) -> Route:
    content = (_ASSETS / name).read_bytes()
    headers = {**_HEADERS, "content-type": kind, "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"'}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers)

    return Route(path, serve)
