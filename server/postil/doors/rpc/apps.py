"""The Apps and Users services: one line per RPC, all meaning in `core/apps.py`; access forgets apps that changed."""

from __future__ import annotations

from google.protobuf.message import Message

from postil.access import Access
from postil.core.apps import Apps, Users
from postil.core.call import Call
from postil.v1.app_service_pb2 import (
    DeleteAppRequest,
    GetAppRequest,
    ListAppsRequest,
    PatchAppRequest,
    PatchAppsRequest,
    PostAppsRequest,
)
from postil.v1.user_service_pb2 import GetUserRequest


class AppsServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, apps: Apps, access: Access) -> None:
        self._apps = apps
        self._access = access

    def GetApp(self, call: Call, request: GetAppRequest) -> Message | bytes:
        return self._apps.get(call, request)

    def ListApps(self, call: Call, request: ListAppsRequest) -> Message | bytes:
        return self._apps.list(call, request)

    def PostApps(self, call: Call, request: PostAppsRequest) -> Message | bytes:
        return self._apps.post(call, request)

    def PatchApps(self, call: Call, request: PatchAppsRequest) -> Message | bytes:
        try:
            return self._apps.patch(call, request)
        finally:
            self._access.forget()

    def PatchApp(self, call: Call, request: PatchAppRequest) -> Message | bytes:
        try:
            return self._apps.patch_one(call, request)
        finally:
            self._access.forget()

    def DeleteApp(self, call: Call, request: DeleteAppRequest) -> Message | bytes:
        try:
            return self._apps.delete(call, request)
        finally:
            self._access.forget()


class UsersServicer:
    """Methods are named as the RPCs; see the .proto for what each promises."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def GetUser(self, call: Call, request: GetUserRequest) -> Message | bytes:
        return self._users.get(call, request)
