"""gzip in both directions: requests are inflated no further than the body limit, replies shrunk when it pays."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

_WORTH = 1400  # bytes; a smaller reply fits into one packet as it is
_BITE = 16 << 10  # compressed bytes looked at at a time
_PIECE = 1 << 20  # bytes inflated at a time
_PATIENCE = 8 << 20  # bytes that may come of next to nothing
_MOST_TIMES = 200  # as many bytes as there were; honest texts become a tenth, bombs a thousandth
_LEVEL = 1  # a fifth of the time of level 6, for a fifth more bytes
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def inflate(body: bytes, encoding: str, limit: int, hold: Callable[[int], None]) -> bytes:
    """A request's body as it was before `Content-Encoding`.

    Args:
        body: As it came.
        encoding: The header.
        limit: Bytes that it may have.
        hold: Takes room for each piece before it is inflated, and raises when there is none: a hundred small bodies
            that become large together must not be more than a hundred large ones.

    Raises:
        Failure: RPC_MAX_MESSAGE_SIZE_EXCEEDED beyond `limit` bytes, CONN_BAD_REQUEST_FORMAT for anything unreadable.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in {"gzip", "x-gzip", "deflate"}:
        raise Failure(StatusCode.CONN_BAD_REQUEST_FORMAT, f"Content-Encoding {name!r} is not known. Use gzip or none.")
    out, stream = bytearray(), zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        for start in range(0, len(body), _BITE):
            bite = body[start : start + _BITE]
            while bite:
                hold(_PIECE)
                out += stream.decompress(bite, _PIECE)
                bite = stream.unconsumed_tail
                if len(out) > limit:
                    raise too_large(limit)
                if len(out) > max(_PATIENCE, _MOST_TIMES * (start + _BITE)):
                    raise _bomb(name)
    except zlib.error as error:
        raise Failure(StatusCode.CONN_BAD_REQUEST_FORMAT, f"The body is not {name} data.", str(error)) from None
    if not stream.eof:
        raise Failure(StatusCode.CONN_BAD_REQUEST_FORMAT, f"The {name} data is cut short.")
    return bytes(out)


def shrink(body: bytes, accepted: str) -> bytes | None:
    """The body as gzip, or None when the client does not take it or it does not pay."""
    if len(body) < _WORTH or not _accepts_gzip(accepted):
        return None
    return gzip.compress(body, _LEVEL, mtime=0)


def _accepts_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(",") if accepted else ():
        name, _, weight = part.partition(";")
        if name.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _bomb(name: str) -> Failure:
    details = f"The {name} data becomes more than {_MOST_TIMES} times as large. Send it as it is."
    return Failure(StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED, details)


def too_large(limit: int) -> Failure:
    """A body that is over the limit."""
    details = f"The body has more than {limit:,} bytes. Send fewer items at once, or raise --max-message-mb."
    return Failure(StatusCode.RPC_MAX_MESSAGE_SIZE_EXCEEDED, details)
