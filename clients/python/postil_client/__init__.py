"""A thin, typed client of Postil: channel, key, retries, paging, and helpers for the common calls.

It needs grpcio and protobuf only. Messages are those of the wire (`postil.v1`); the helpers in
`postil_client.build` make the common ones.

    from postil_client import Client

    with Client() as client:
        client.add_texts({"t1": "espresso in a cup"}, concepts=["coffee"])
        for hit in client.search_by_text("a hot drink").hits:
            print(f"{hit.score:.2f} {hit.input.id}")
"""

from postil_client.client import Client
from postil_client.errors import PostilError

__all__ = ["Client", "PostilError"]
