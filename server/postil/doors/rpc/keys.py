"""The Keys service: one line per RPC, all meaning in `core/keys.py`."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.core.call import Call
from postil.core.keys import Keys
from postil.v1.key_service_pb2 import (
    DeleteKeyRequest,
    GetKeyRequest,
    ListAppKeysRequest,
    ListKeysRequest,
    ListScopesRequest,
    MyScopesRequest,
    MyScopesUserRequest,
    PatchKeysRequest,
    PostKeysRequest,
)


class KeysServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def GetKey(self, call: Call, request: GetKeyRequest) -> Message | bytes:
        return self._keys.get(call, request)

    def ListKeys(self, call: Call, request: ListKeysRequest) -> Message | bytes:
        return self._keys.list(call, request)

    def ListAppKeys(self, call: Call, request: ListAppKeysRequest) -> Message | bytes:
        return self._keys.list_of_app(call, request)

    def DeleteKey(self, call: Call, request: DeleteKeyRequest) -> Message | bytes:
        return self._keys.delete(call, request)

    def PostKeys(self, call: Call, request: PostKeysRequest) -> Message | bytes:
        return self._keys.post(call, request)

    def PatchKeys(self, call: Call, request: PatchKeysRequest) -> Message | bytes:
        return self._keys.patch(call, request)

    def MyScopes(self, call: Call, request: MyScopesRequest) -> Message | bytes:
        return self._keys.my_scopes(call, request)

    def MyScopesUser(self, call: Call, request: MyScopesUserRequest) -> Message | bytes:
        return self._keys.my_scopes_user(call, request)

    def ListScopes(self, call: Call, request: ListScopesRequest) -> Message | bytes:
        return self._keys.list_scopes(call, request)
