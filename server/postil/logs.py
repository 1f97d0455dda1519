"""Structured logs on stderr: one line per event, for people on a terminal and as JSON elsewhere.

The standard library's loggers, ours and those of libraries, go through the same formatter. Nothing logs secrets,
request bodies or URLs' query strings.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

Logger = structlog.stdlib.BoundLogger

_SHARED: list[structlog.types.Processor] = [
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_PROCESSORS: list[structlog.types.Processor] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]


def configure(level: str, style: str) -> None:
    """Sends every logger to stderr.

    Args:
        level: "debug", "info", "warning" or "error".
        style: "console", "json", or "auto": console on a terminal.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    final: list[structlog.types.Processor] = [_without_bookkeeping]
    if console:
        final.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    else:
        final += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=False)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=final, foreign_pre_chain=_SHARED))
    # For rooms that ask structlog itself for a logger; by default that would print to stdout.
    structlog.configure(
        processors=_PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("postil").setLevel(level.upper())


def get(name: str) -> Logger:
    """A structured logger: `log.info("event", key=value)`. Works, unformatted, before `configure` too."""
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=_PROCESSORS,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def _without_bookkeeping(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
