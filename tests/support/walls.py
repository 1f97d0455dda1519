"""Two users with an app each on a server that asks for keys, a thing of every kind in one of the apps, and requests
that name those things, built from the descriptors: what the tests of access try every RPC with."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import requests
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from postil.doors.rpc.methods import Method
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import PostAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from support.belongings import fill
from support.doors import METHODS
from support.keys import Metadata, posted, shows
from support.server import OWN, Server

_HEX = re.compile(r"[0-9a-f]{32,}")
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")
_CHANGING = {"req_id", "score", "token", "milliseconds", "duration_ms", "took_ms"}


class World:
    """What exists. `ids` name things of `theirs`; `absent` names nothing, in the same shape."""

    def __init__(self, server: Server, ann: str, bob: str) -> None:
        self.server, self.ann, self.bob = server, ann, bob
        self.ours = UserAppIDSet(user_id="ann", app_id="ours")
        self.theirs = UserAppIDSet(user_id="bob", app_id="theirs")
        for token, place in ((ann, self.ours), (bob, self.theirs)):
            request = PostAppsRequest(user_app_id=UserAppIDSet(user_id="me"), apps=[App(id=place.app_id)])
            self.good("PostApps", request, token)
        self.ids = {"app": "theirs", **fill(partial(self._as, bob), self.theirs), "key": posted(server, bob).id}
        made_up = iter("89abcdef")  # of each kind another one, so that answers can be told apart
        self.absent = {
            kind: next(made_up) * 32 if _HEX.fullmatch(one) else f"nor{one[3:]}" for kind, one in self.ids.items()
        }
        self.absent |= {"app": "nowhere"}

    def _as(self, token: str, rpc: str, request: Message) -> Any:
        return self.good(rpc, request, token)

    def good(self, rpc: str, request: Message, token: str) -> Any:
        """A call that must succeed."""
        answer = self.server.call(OWN, rpc, request, metadata=shows(token))
        assert answer.status.code == 10000, (rpc, answer)
        return answer

    def rpc(self, name: str, request: Message, metadata: Metadata) -> dict[str, Any]:
        """The answer over gRPC, as a dictionary."""
        answer = self.server.call(OWN, name, request, metadata=metadata)
        return MessageToDict(answer, preserving_proto_field_name=True)

    def http(self, name: str, request: Message, metadata: Metadata) -> dict[str, Any]:
        """The answer over HTTP, at the RPC's first binding."""
        from google.api import annotations_pb2

        rule = METHODS[name].descriptor.GetOptions().Extensions[annotations_pb2.http]
        verb = str(rule.WhichOneof("pattern"))
        fields = MessageToDict(request, preserving_proto_field_name=True)

        def fill(match: re.Match[str]) -> str:
            value: Any = fields
            for hop in match[1].split("."):
                value = value.get(hop, {}) if isinstance(value, dict) else ""
            return str(value or "none")

        path = re.sub(r"\{([^}=]+)[^}]*\}", fill, getattr(rule, verb))
        body = json.dumps(fields) if rule.body else None
        plain = {key: value for key, value in fields.items() if not isinstance(value, dict)}
        answer = requests.request(
            verb.upper(), self.server.http + path, data=body, params=None if rule.body else plain,
            headers=dict(metadata), timeout=60,
        )  # fmt: skip
        found: dict[str, Any] = answer.json()
        assert answer.status_code == found["status"].get("http_status_code", answer.status_code)
        return found


def request_for(method: Method, place: UserAppIDSet, ids: dict[str, str]) -> Any:
    """A request of an RPC that names an app and, wherever there is a place for it, the things of `ids`."""
    request: Any = method.request()
    if "user_app_id" in request.DESCRIPTOR.fields_by_name:
        request.user_app_id.CopyFrom(place)
    _name_things(request, _kind(method.name), ids)
    return request


def names_things(method: Method, place: UserAppIDSet, ids: dict[str, str]) -> bool:
    """Whether requests of this RPC can name anything but an app."""
    return bool(request_for(method, place, ids) != request_for(method, place, dict.fromkeys(ids, "")))


def code(answer: dict[str, Any]) -> int:
    """The status code of an answer."""
    from postil.v1.status_code_pb2 import StatusCode

    found = answer["status"]["code"]
    return found if isinstance(found, int) else StatusCode.Value(found)


def settled(answer: dict[str, Any], *replaced: dict[str, str]) -> str:
    """An answer as text without what differs between any two calls, and without the ids that were asked for."""
    text = json.dumps(_without(answer), sort_keys=True)
    for ids in replaced:
        for kind, one in ids.items():
            text = text.replace(one, f"<{kind}>")
    return _TIMES.sub("<time>", _HEX.sub("<id>", text))


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items() if key not in _CHANGING}
    return [_without(one) for one in value] if isinstance(value, list) else value


def _kind(name: str) -> str:
    """What a bare `id` or `ids` names, told from the name of the RPC or message."""
    for word, kind in (
        ("Evaluation", "evaluation"), ("EvalMetrics", "evaluation"), ("ModelVersion", "model_version"),
        ("DatasetVersion", "dataset_version"), ("DatasetInput", "input"), ("Dataset", "dataset"),
        ("WorkflowVersion", "workflow_version"), ("Workflow", "workflow"), ("ModelsSearches", "model"),
        ("DeleteFeedback", "feedback"), ("Key", "key"), ("InputsAddJob", "job"), ("Model", "model"),
        ("SearchesByID", "ran"), ("Searches", "search"), ("GetSearch", "search"), ("DeleteSearch", "search"),
        ("Filter", "filter"), ("Annotation", "annotation"), ("Concept", "concept"), ("App", "app"),
    ):  # fmt: skip
        if word in name:
            return kind
    return "input"


def _value(field: str, kind: str, ids: dict[str, str]) -> str:
    """The id that belongs into a field."""
    stem = field.removesuffix("s").removesuffix("_id")
    known = {
        "annotation_filter": "filter", "subject_concept": "concept", "object_concept": "concept", "search": "ran",
        "inputs_add_job": "job", "version": "model_version",
    }  # fmt: skip
    return ids[known.get(stem, stem if stem in ids else kind)]


def _name_things(message: Any, kind: str, ids: dict[str, str], depth: int = 0) -> None:
    for field in message.DESCRIPTOR.fields:
        named = field.name in {"id", "ids"} or field.name.endswith(("_id", "_ids"))
        if field.type == field.TYPE_STRING and named:
            value = _value(field.name, kind, ids)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            elif not field.containing_oneof:
                setattr(message, field.name, value)
        elif field.is_repeated and field.message_type and depth == 0 and "id" in field.message_type.fields_by_name:
            item = getattr(message, field.name).add()
            item.id = ids[_kind(field.message_type.name)]
            if "input_id" in field.message_type.fields_by_name:
                item.input_id = ids["input"]
