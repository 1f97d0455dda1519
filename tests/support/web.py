"""A web server on this machine that tests post pictures from."""

from __future__ import annotations

import select
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HANG_S = 60


class WebServer:
    """Serves bytes by name; unknown names are 404, hanging ones answer only when it closes.

    Attributes:
        requests: Names asked for.
        ended: Hanging ones whose caller has hung up.
    """

    def __init__(self) -> None:
        self._pages: dict[str, bytes] = {}
        self._hanging: set[str] = set()
        self._closing = threading.Event()
        self.requests: list[str] = []
        self.ended: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def serve(self, name: str, content: bytes) -> str:
        self._pages[name] = content
        return self.url(name)

    def hang(self, name: str) -> str:
        self._hanging.add(name)
        return self.url(name)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        self.requests.append(name)
        if name in self._hanging:
            self._hang(request, name)
        content = self._pages.get(name)
        request.send_response(404 if content is None else 200)
        request.send_header("Content-Length", str(len(content or b"")))
        request.end_headers()
        request.wfile.write(content or b"")

    def _hang(self, request: BaseHTTPRequestHandler, name: str) -> None:
        deadline = time.monotonic() + _HANG_S
        while not self._closing.wait(0.02) and time.monotonic() < deadline:
            if select.select([request.connection], [], [], 0)[0]:  # nothing more is sent: it is the end
                self.ended.append(name)
                return
