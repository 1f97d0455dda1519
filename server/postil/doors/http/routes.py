"""The pages of the HTTP door beside the gateway: health, readiness, metrics, the description of the
calls, and hosted media. Errors are JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from postil.access import SESSION_HEADER, Open, Shown
from postil.core import scopes, statuses
from postil.core.callers import Caller, lacking
from postil.doors.http import hosted, reference
from postil.doors.http.hosted import Blob, Thumbnail
from postil.doors.http.json_out import Printer
from postil.errors import Failure
from postil.media.thumbnails import SIZES
from postil.metrics import CONTENT_TYPE, Metrics
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status


def build(
    ready: Callable[[], bool],
    metrics: Metrics,
    blob: Blob,
    thumbnail: Thumbnail,
    caller: Callable[[Shown], Caller] | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        ready: Whether calls are welcome.
        metrics: What `/metrics` shows.
        blob: Digest (64 hexadecimal digits) to the hosted file, or None.
        thumbnail: Digest, size and hosted file to the file of its smaller version.
        caller: Who shows what was shown; `/metrics` speaks of all apps, so it is not for the key of one.
            Default: whoever asks may see them.
    """

    def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    def readyz(_request: Request) -> Response:
        is_ready = ready()
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            _metrics_route(metrics, caller or Open().caller),
            *reference.routes(),
            *hosted.routes(blob, thumbnail, tuple(SIZES)),
        ],
        exception_handlers={HTTPException: _refused, Exception: _refused},
    )


def _metrics_route(metrics: Metrics, who: Callable[[Shown], Caller]) -> Route:
    def page(request: Request) -> Response:
        shown = Shown(request.headers.get("authorization", ""), request.headers.get(SESSION_HEADER, ""))
        try:
            _check_metrics(who(shown))
        except Failure as failure:
            return _says(statuses.of_failure(failure))
        return Response(metrics.render(), headers={"content-type": CONTENT_TYPE})

    return Route("/metrics", page)


def _check_metrics(caller: Caller) -> None:
    if caller.app_only:
        raise lacking([scopes.ALL], "metrics need, being about all apps; use a personal access token with")
    caller.require(scopes.ALL, "metrics need, being about all apps")


_CODES: dict[int, statuses.Code] = {
    404: StatusCode.CONN_DOES_NOT_EXIST,
    405: StatusCode.CONN_METHOD_NOT_ALLOWED,
    416: StatusCode.CONN_INVALID_RANGE,
    500: StatusCode.INTERNAL_SERVER_ISSUE,
}


def _refused(_request: Request, error: Exception) -> Response:
    """The body says it as a call would."""
    if not isinstance(error, HTTPException):  # the traceback is in the log, and tells nothing to strangers
        error = HTTPException(500, "Something went wrong in the server; see its log.")
    status = statuses.status(_CODES.get(error.status_code, StatusCode.CONN_INVALID_REQUEST), error.detail)
    status.http_status_code = error.status_code
    return _says(status, error.headers)


def _says(status: Status, headers: Mapping[str, str] | None = None) -> Response:
    body = Printer().text(BaseResponse(status=status))
    return Response(body, status.http_status_code, headers, "application/json")
