"""The whole HTTP door as one ASGI application: calls under /v2 go to the gateway, everything else to the pages."""

from __future__ import annotations

from collections.abc import Collection

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_CALLS = "/v2"
_DAY_S = 86_400


def build(gateway: ASGIApp, pages: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The application.

    Args:
        gateway: Answers calls.
        pages: Answers the rest.
        origins: Other sites whose pages may call; "*" for any.
    """

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope.get("path", "")
        is_call = path.startswith(_CALLS) and path[len(_CALLS) : len(_CALLS) + 1] in {"", "/"}
        await (gateway if is_call else pages)(scope, receive, send)

    if not origins:
        return site
    return CORSMiddleware(
        site,
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        max_age=_DAY_S,
    )
