"""Opens the channel: plaintext or TLS, retries while the server is away, large messages allowed."""

from __future__ import annotations

import json

import grpc

MESSAGE_LIMIT = 1 << 30  # bytes; the server sets the limit that counts

# gRPC retries by itself, with jitter, and only where the server was not there (UNAVAILABLE): at most five attempts,
# about four seconds in all.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

_OPTIONS = (
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_RETRIES)),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
)


def open_channel(target: str, tls: bool | bytes, certificate: tuple[bytes, bytes] | None = None) -> grpc.Channel:
    """A channel to `host:port`.

    Args:
        target: `host:port`, or any other name that gRPC resolves.
        tls: False for plaintext, True for TLS with the system's certificate authorities, or the PEM bytes of the
            certificate authority to trust.
        certificate: The PEM bytes of the client's own certificate and of its key, for a server that asks for one.

    Raises:
        ValueError: A certificate without TLS.
    """
    if tls is False and certificate is not None:
        raise ValueError("a client certificate is only shown over TLS: give tls=True, or the authority to trust")
    if tls is False:
        return grpc.insecure_channel(target, options=_OPTIONS)
    chain, key = certificate or (None, None)
    credentials = grpc.ssl_channel_credentials(None if tls is True else tls, key, chain)
    return grpc.secure_channel(target, credentials, options=_OPTIONS)
