"""Requests bred from others: honest ones of every call to begin with (seeds.json), and those since that went well or
were answered as none before. Each is changed in a few places, so that most get beyond the first check."""

from __future__ import annotations

import base64
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from fuzz.ids import Ids
from fuzz.messages import Maker, tiny_png
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS

_SEEDS = Path(__file__).parent / "seeds.json"
_KEPT = 100  # requests of a call, and parts of a type
_LARGEST = 20_000  # bytes of a request that others are bred from
_WORDS = re.compile(r"'[^']*'|\"[^\"]*\"|[\d.,]+|\bn\d+\b")
_FRESH = 0.1  # share of requests that are drawn from nothing


class Herd:
    """What requests are bred from. Threads may share it."""

    def __init__(self) -> None:
        self.ids = Ids()
        self.seen: Counter[tuple[str, int, str]] = Counter()
        self._tokens = ["", "wrong"]
        self._good: dict[str, list[bytes]] = {name: [] for name in METHODS}
        self._odd: dict[str, list[bytes]] = {name: [] for name in METHODS}
        self._parts: dict[str, list[bytes]] = {}
        self._seeds = _read()
        for name, found in self._seeds.items():
            for content in found:
                self._take_apart(METHODS[name].request.FromString(content), random.Random(0))

    def request(self, name: str, maker: Maker) -> Message:
        """A request of that call."""
        draw = maker.random
        if draw.random() < _FRESH:
            return maker.message(METHODS[name].descriptor.input_type)
        parents = draw.choices((self._seeds[name], self._good[name], self._odd[name]), (6, 3, 1))[0]
        content = draw.choice(parents or self._seeds[name])
        made = METHODS[name].request.FromString(content)
        for _ in range(draw.choice((0, 0, 0, 1, 1, 1, 2, 4))):
            self._change(made, maker)
        if draw.random() < 0.9:
            self.ids.name(made, draw, post=name.startswith("Post"))
        maker.pin(made)
        return made

    def token(self, draw: random.Random) -> str:
        """A token that a call made, or one that opens nothing."""
        return draw.choice(self._tokens)

    def learn(self, name: str, content: bytes, answer: Any, draw: random.Random) -> None:
        """Keeps a request whose answer is one of a new kind, and some that went well; with the ids in the answer."""
        status = answer.status
        key = (name, status.code, _WORDS.sub("", status.details)[:80])
        self.seen[key] += 1
        rare = self.seen[key] <= 3
        good = status.code in {StatusCode.SUCCESS, StatusCode.MIXED_STATUS}
        if good:
            rare |= draw.random() < 0.1
            self._note(name, content, answer, draw, whole=rare)
        if rare and len(content) <= _LARGEST:
            METHODS[name].request.FromString(content)  # raises where it was mangled beyond reading
            _put((self._good if good else self._odd)[name], content, draw)

    def _note(self, name: str, content: bytes, answer: Any, draw: random.Random, *, whole: bool) -> None:
        """What there is to learn from a call that went well."""
        made = name.startswith("Post") and not name.endswith(("Searches", "ByID"))
        gone = name.startswith("Delete")
        if not (made or gone or whole):
            return
        request = METHODS[name].request.FromString(content)
        if gone:
            self.ids.forget(request)
        else:
            self.ids.learn(request, answer)
        if name == "PostKeys":
            self._tokens = [*self._tokens[:2], *self._tokens[-10:], *(key.token for key in answer.keys if key.token)]
        if whole:
            self._take_apart(request, draw)

    def _take_apart(self, message: Any, draw: random.Random) -> None:
        for field, value in message.ListFields():
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            for inner in value[:3] if field.is_repeated else (value,):
                content = inner.SerializeToString()
                if len(content) <= _LARGEST:
                    _put(self._parts.setdefault(field.message_type.full_name, []), content, draw)
                self._take_apart(inner, draw)

    def _change(self, message: Any, maker: Maker) -> None:
        """Changes one place, anywhere."""
        draw = maker.random
        while draw.random() < 0.7:
            inner = [one for one in message.ListFields() if one[0].message_type and not _is_map(one[0])]
            if not inner:
                break
            field, value = draw.choice(inner)
            message = draw.choice(value) if field.is_repeated else value
        found = [field for field, _ in message.ListFields() if field.name != "user_app_id"]
        match draw.randrange(6):
            case 0 if found:
                message.ClearField(draw.choice(found).name)
            case 1 if repeated := [field for field in found if field.is_repeated and not _is_map(field)]:
                _again(getattr(message, draw.choice(repeated).name), draw)
            case 2 | 3 if parts := [field for field in message.DESCRIPTOR.fields if _part(field, self._parts)]:
                field = draw.choice(parts)
                assert field.message_type is not None
                content = draw.choice(self._parts[field.message_type.full_name])
                target = getattr(message, field.name)
                (target.add() if field.is_repeated else target).MergeFromString(content)
            case 4 if found:
                field = draw.choice(found)
                message.ClearField(field.name)
                maker.fill(message, field, 2)
            case _ if message.DESCRIPTOR.fields:
                maker.fill(message, draw.choice(message.DESCRIPTOR.fields), 2)


def _read() -> dict[str, list[bytes]]:
    """The seeds of every call, as bytes."""
    picture = base64.b64encode(tiny_png(3)).decode()
    found = json.loads(_SEEDS.read_text(encoding="utf-8").replace("PICTURE", picture))
    return {
        name: [json_format.ParseDict(one, METHODS[name].request()).SerializeToString() for one in found[name]]
        for name in METHODS
    }


def _put(into: list[bytes], content: bytes, draw: random.Random) -> None:
    if len(into) < _KEPT:
        into.append(content)
    else:
        into[draw.randrange(_KEPT)] = content


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _part(field: Any, parts: dict[str, list[bytes]]) -> bool:
    return bool(field.message_type and field.name != "user_app_id" and field.message_type.full_name in parts)


def _again(values: Any, draw: random.Random) -> None:
    """One element once more, or one less."""
    at = draw.randrange(len(values))
    if draw.random() < 0.4:
        del values[at]
    elif len(values) < 300:
        values.append(values[at])
