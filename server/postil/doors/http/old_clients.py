"""What the clients of 2016 to 2020 read in replies although the schema has dropped it since.

They index these keys of a model without asking whether they are there: `name`, `app_id`, `created_at`,
`model_version.id`, `model_version.status.code`, `output_info.type` and `type_ext`.
"""

from __future__ import annotations

import re
from typing import Any

from postil.core import older_models
from postil.v1.status_code_pb2 import StatusCode

_OLD = re.compile(r"(?:python|js|java|csharp|php|ruby|objc):[0-2](?:\.|$)", re.IGNORECASE)
_NEVER = "1970-01-01T00:00:00Z"


def is_old(client: str) -> bool:
    """Whether `X-Clarifai-Client` names such a client, for example "python:2.6.2"."""
    return _OLD.match(client) is not None


def complete(reply: dict[str, Any]) -> None:
    """Adds the missing keys to every model of a reply."""
    models = [reply.get("model"), *_items(reply, "models"), *(item.get("model") for item in _items(reply, "outputs"))]
    for model in models:
        if isinstance(model, dict):
            _complete(model)


def _items(reply: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = reply.get(name, [])
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _complete(model: dict[str, Any]) -> None:
    model.setdefault("name", model.get("id", ""))
    model.setdefault("app_id", "")
    model.setdefault("created_at", _NEVER)
    version = model.setdefault("model_version", {})
    version.setdefault("id", "")
    version.setdefault("created_at", model["created_at"])
    version.setdefault("status", {"code": int(StatusCode.MODEL_TRAINED), "description": "Model trained successfully"})
    info = model.setdefault("output_info", {})
    kind = older_models.kind(model.get("id", ""), model.get("model_type_id", ""))
    info.setdefault("type", kind)
    info.setdefault("type_ext", kind)
