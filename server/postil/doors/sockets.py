"""Binding a listening socket, with a refusal that a person understands."""

from __future__ import annotations

import socket

from postil.config import Address, CannotListen

_BACKLOG = 256


def listen(address: Address) -> socket.socket:
    """A listening socket; raises CannotListen when the address is taken or not this machine's."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from None
    return listening
