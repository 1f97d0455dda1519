"""The doors without rooms behind them: fake apps, and a dispatcher around any handlers."""

from __future__ import annotations

from collections.abc import Mapping

from postil.access import Access, Open
from postil.doors.rpc import methods
from postil.doors.rpc.dispatcher import Dispatcher, Handler
from postil.doors.rpc.limits import Limits, Rates
from postil.metrics import Metrics
from postil.store.base import AppRecord

METHODS = methods.table()


class FakeApps:
    """Apps in a dictionary; counts how often it was asked."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], AppRecord] = {}
        self.asked = 0

    def resolve(self, user_id: str, app_id: str, create: bool) -> AppRecord | None:
        self.asked += 1
        key = (user_id, app_id)
        if create and key not in self.records:
            self.records[key] = AppRecord(len(self.records) + 1, user_id, app_id, b"")
        return self.records.get(key)


def dispatcher(
    handlers: Mapping[str, Handler],
    apps: FakeApps | None = None,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    rates: Rates | None = None,
) -> Dispatcher:
    """A dispatcher whose servicers are plain functions."""
    access = Access(apps or FakeApps(), Open())
    return Dispatcher(METHODS, handlers, access, limits or Limits(64, 1 << 26), metrics or Metrics(), rates=rates)
