"""`postil feedback stats` against a running server."""

from __future__ import annotations

import subprocess

from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.feedback_service_pb2 import PostSearchFeedbackRequest
from postil.v1.input_pb2 import EventType, FeedbackInfo, Input
from support.server import OWN, Server, clean_environment, command


def stats(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("feedback", "stats", *arguments),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
    )


def test_stats_are_printed(server: Server, app: UserAppIDSet) -> None:
    info = FeedbackInfo(event_type=EventType.search_click, search_id="made-up", end_user_id="ann")
    request = PostSearchFeedbackRequest(user_app_id=app, input=Input(id="i", feedback_info=info))
    server.call(OWN, "PostSearchFeedback", request)
    done = stats("--target", server.grpc, "--app", app.app_id, "--by-end-user", "--by-query-family")
    assert done.returncode == 0, done.stderr
    lines = [line.replace("│", " ").split() for line in done.stdout.splitlines()]
    (everybody,) = (line for line in lines if line[:1] == ["all"])
    assert everybody[1:4] == ["0", "1", "1"]
    assert any(line[:3] == ["end", "user", "ann"] for line in lines)


def test_a_server_that_is_not_there_is_named() -> None:
    done = stats("--target", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("postil: the server cannot be reached")
