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


def open_channel(target: str, tls: bool | bytes) -> grpc.Channel:
    """A channel to `host:port`.

    Args:
        target: `host:port`, or any other name that gRPC resolves.
        tls: False for plaintext, True for TLS with the system's certificate authorities, or the PEM bytes of the
            certificate authority to trust.
    """
    if tls is False:
        return grpc.insecure_channel(target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates=None if tls is True else tls)
    return grpc.secure_channel(target, credentials, options=_OPTIONS)
