"""A web server on this machine that tests post pictures from."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WebServer:
    """Serves bytes by name; unknown names are 404, hanging ones answer only when it closes."""

    def __init__(self) -> None:
        self._pages: dict[str, bytes] = {}
        self._hanging: set[str] = set()
        self._closing = threading.Event()
        self.requests: list[str] = []
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
            self._closing.wait(60)
        content = self._pages.get(name)
        request.send_response(404 if content is None else 200)
        request.send_header("Content-Length", str(len(content or b"")))
        request.end_headers()
        request.wfile.write(content or b"")
