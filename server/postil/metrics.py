"""Prometheus metrics of one server, in a registry of its own (two servers in one process do not mix)."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

import postil

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The counters; each door and room is handed the few it moves."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter(
            "postil_calls", "Calls by RPC and application status code.", ["rpc", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "postil_call_seconds", "Time in the dispatcher by RPC.", ["rpc"], buckets=_SECONDS, registry=self.registry
        )
        self.refused = Counter(
            "postil_refused", "Calls refused before they were worked on.", ["reason"], registry=self.registry
        )
        self.walks = Counter(
            "postil_search_walks", "Walks through an index by the plan taken.", ["plan"], registry=self.registry
        )
        self.searches_dropped = Counter(
            "postil_searches_dropped", "Searches that ran but could not be recorded.", registry=self.registry
        )
        self.audit_dropped = Counter(
            "postil_audit_dropped", "Lines of the audit log that could not be kept.", registry=self.registry
        )
        build = Gauge("postil_build_info", "The running version.", ["version"], registry=self.registry)
        build.labels(postil.__version__).set(1)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Adds a gauge that is read when Prometheus asks."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The exposition text (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)
