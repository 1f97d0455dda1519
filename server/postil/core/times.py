"""Times that searches and lists ask for."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from postil.core.refusals import invalid


def microseconds(given: Timestamp, where: str) -> int:
    """Since the epoch; parts of one are dropped. Raises Failure SEARCH_INVALID_REQUEST for what is no time."""
    try:
        return given.ToMicroseconds()
    except ValueError as error:
        raise invalid(f"{where} is no time; give one between the years 1 and 9999, nanos from 0 up") from error
