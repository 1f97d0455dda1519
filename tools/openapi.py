"""Write the OpenAPI document of the JSON door, server/postil/doors/http/assets/openapi.json, from the protos.

    python tools/openapi.py           write (`make protos`)
    python tools/openapi.py --check   write nothing; exit 1 when the document is stale (`make verify`)

Descriptions are the protos' comments, which the stubs do not carry: hence a file, and not something made at start.
Calls that are not built yet are left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from postil import __version__
from postil.doors.http.bindings import Binding, bindings_of
from postil.doors.rpc import methods
from postil.v1 import options_pb2

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
DOCUMENT = ROOT / "server/postil/doors/http/assets/openapi.json"
LATER = "Not built yet: answers UNIMPLEMENTED."  # as in tools/api.py
PACKAGE = ".postil.v1."
QUERY_DEPTH = 2  # levels of messages that become query parameters

Json: TypeAlias = dict[str, Any]

ABOUT = """\
Every call that the gRPC door answers, over HTTP with JSON.

Failures are told in status: programs test status.code (10000 is success, 10010 that some items failed), people read
status.details. The HTTP status follows from the code.

In JSON an absent value of a concept means 1; unknown keys and nulls are ignored; numbers of 64 bits are texts.
"""

_KNOWN: dict[str, Json] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "examples": ["1.5s"]},
    ".google.protobuf.Struct": {"type": "object"},
    ".google.protobuf.Value": {},
    ".google.protobuf.ListValue": {"type": "array"},
    ".google.protobuf.BoolValue": {"type": "boolean"},
    ".google.protobuf.Int32Value": {"type": "integer"},
    ".google.protobuf.StringValue": {"type": "string"},
    ".google.protobuf.FloatValue": {"type": "number"},
    ".google.protobuf.UInt64Value": {"type": "string", "format": "uint64"},
}
_F = FieldDescriptorProto
_SCALARS: dict[int, Json] = {
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    _F.TYPE_INT32: {"type": "integer", "format": "int32"},
    _F.TYPE_INT64: {"type": "string", "format": "int64"},
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_UINT32: {"type": "integer", "minimum": 0},
    _F.TYPE_UINT64: {"type": "string", "format": "uint64"},
}


class Schema:
    """The protos with their comments.

    Args:
        files: As protoc describes them, with source info.
    """

    def __init__(self, files: FileDescriptorSet) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self.comments: dict[str, str] = {}  # by full name
        for file in files.file:
            said = {tuple(one.path): one.leading_comments for one in file.source_code_info.location}
            self._read(file, said)

    def _read(self, file: FileDescriptorProto, said: Mapping[tuple[int, ...], str]) -> None:
        scope = f".{file.package}"
        for place, message in enumerate(file.message_type):
            self._message(message, scope, (4, place), said)
        for place, enum in enumerate(file.enum_type):
            self._enum(enum, scope, (5, place), said)
        for place, service in enumerate(file.service):
            self._say(f"{scope}.{service.name}", said.get((6, place)))
            for number, method in enumerate(service.method):
                self._say(f"{scope}.{service.name}.{method.name}", said.get((6, place, 2, number)))

    def _message(self, message: DescriptorProto, scope: str, at: tuple[int, ...], said: Mapping[Any, str]) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        self._say(name, said.get(at))
        for place, field in enumerate(message.field):
            self._say(f"{name}.{field.name}", said.get((*at, 2, place)))
        for place, nested in enumerate(message.nested_type):
            self._message(nested, name, (*at, 3, place), said)
        for place, enum in enumerate(message.enum_type):
            self._enum(enum, name, (*at, 4, place), said)

    def _enum(self, enum: EnumDescriptorProto, scope: str, at: tuple[int, ...], said: Mapping[Any, str]) -> None:
        name = f"{scope}.{enum.name}"
        self.enums[name] = enum
        self._say(name, said.get(at))
        for place, value in enumerate(enum.value):
            self._say(f"{name}.{value.name}", said.get((*at, 2, place)))

    def _say(self, name: str, comment: str | None) -> None:
        if comment:
            self.comments[name] = " ".join(comment.split())


class Document:
    """Collects paths and the schemas that they need."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._schemas: dict[str, Json] = {}

    def make(self) -> Json:
        """The whole document."""
        paths: dict[str, Json] = {}
        tags: dict[str, Json] = {}
        for method in methods.table().values():
            said = self._schema.comments.get(f".{method.service}.{method.name}", "")
            if LATER in said:
                continue
            service = method.service.rpartition(".")[2]
            tags[service] = {"name": service, "description": self._schema.comments.get(f".{method.service}", "")}
            for place, binding in enumerate(bindings_of(method)):
                call = self._operation(binding, service, said, place)
                paths.setdefault(_spelled(binding), {})[binding.verb.lower()] = call
        return {
            "openapi": "3.1.0",
            "info": {"title": "Postil", "version": __version__, "description": _paragraphs(ABOUT)},
            "servers": [{"url": "/"}],
            "security": [{"key": []}],
            "tags": [tags[name] for name in sorted(tags)],
            "paths": {path: paths[path] for path in sorted(paths)},
            "components": {
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "`Key TOKEN`"}
                },
                "schemas": {name: self._schemas[name] for name in sorted(self._schemas)},
            },
        }

    def _operation(self, binding: Binding, service: str, said: str, place: int) -> Json:
        method = binding.method
        first, _, _ = said.partition(". ")
        request, response = (f".{kind.DESCRIPTOR.full_name}" for kind in (method.request, method.response))
        call: Json = {
            "operationId": method.name if place == 0 else f"{method.name}_{place + 1}",
            "tags": [service],
            "summary": first.rstrip("."),
            "description": said,
            "parameters": [self._path_parameter(name, request) for name in binding.captures],
            "responses": {
                "200": _content("The reply; `status` tells how it went.", self._reference(response)),
                "default": _content("What went wrong.", self._reference(".postil.v1.BaseResponse")),
            },
        }
        if binding.body:
            call["requestBody"] = {"content": {"application/json": {"schema": self._reference(request)}}}
        else:
            call["parameters"] += list(self._query(request, "", set(binding.captures), QUERY_DEPTH))
        return call

    def _path_parameter(self, name: str, request: str) -> Json:
        at, said = request, ""
        for step in name.split("."):
            field = next(field for field in self._schema.messages[at].field if field.name == step)
            said = self._schema.comments.get(f"{at}.{step}", "")
            at = field.type_name
        return {"name": _plain(name), "in": "path", "required": True, "description": said, "schema": {"type": "string"}}

    def _query(self, message: str, prefix: str, taken: set[str], depth: int) -> Iterator[Json]:
        for field in self._schema.messages[message].field:
            name = f"{prefix}{field.name}"
            if name in taken:
                continue
            if field.type_name in self._schema.messages and field.type_name not in _KNOWN:
                if depth > 1:
                    yield from self._query(field.type_name, f"{name}.", taken, depth - 1)
                continue
            said = self._schema.comments.get(f"{message}.{field.name}", "")
            yield {"name": name, "in": "query", "description": said, "schema": self._field(field)}

    def _reference(self, name: str) -> Json:
        """A schema of components, made when it is first asked for."""
        short = name.removeprefix(PACKAGE)
        if short not in self._schemas:
            self._schemas[short] = {}  # messages may contain themselves
            self._schemas[short] = self._enum(name) if name in self._schema.enums else self._message(name)
        return {"$ref": f"#/components/schemas/{short}"}

    def _message(self, name: str) -> Json:
        properties = {
            field.name: {**self._field(field), "description": self._schema.comments.get(f"{name}.{field.name}", "")}
            for field in self._schema.messages[name].field
        }
        return {"type": "object", "description": self._schema.comments.get(name, ""), "properties": properties}

    def _enum(self, name: str) -> Json:
        enum, said = self._schema.enums[name], self._schema.comments
        values = [(value, said.get(f"{name}.{value.name}", "")) for value in enum.value]
        is_code = name == f"{PACKAGE}StatusCode"
        listed = "\n".join(f"- `{value.number if is_code else value.name}` {value.name * is_code} {text}".rstrip()
                           for value, text in values)  # fmt: skip
        about = f"{said.get(name, '')}\n\n{listed}"
        if is_code:
            return {"type": "integer", "description": about}
        return {"type": "string", "description": about, "enum": [value.name for value, _ in values]}

    def _field(self, field: FieldDescriptorProto) -> Json:
        entry = self._schema.messages.get(field.type_name)
        if entry is not None and entry.options.map_entry:
            return {"type": "object", "additionalProperties": self._single(entry.field[1])}
        single = self._single(field)
        return {"type": "array", "items": single} if field.label == _F.LABEL_REPEATED else single

    def _single(self, field: FieldDescriptorProto) -> Json:
        if field.type_name:
            known = _KNOWN.get(field.type_name)
            return dict(self._reference(field.type_name) if known is None else known)
        single = dict(_SCALARS[field.type])
        if field.options.HasExtension(options_pb2.default_float):
            single["default"] = field.options.Extensions[options_pb2.default_float]
        return single


def _spelled(binding: Binding) -> str:
    """The path with plain names: many tools stumble over dots in them."""
    path = binding.path
    for name in binding.captures:
        path = path.replace(f"{{{name}}}", f"{{{_plain(name)}}}")
    return path


def _plain(name: str) -> str:
    return name.rpartition(".")[2]


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _content(said: str, schema: Json) -> Json:
    return {"description": said, "content": {"application/json": {"schema": schema}}}


def described() -> FileDescriptorSet:
    """The protos as protoc sees them, with comments."""
    with tempfile.TemporaryDirectory(prefix="postil-openapi-") as folder:
        out = Path(folder) / "set.binpb"
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}"),
            f"--proto_path={package_files('grpc_tools') / '_proto'}",
            *(f"--descriptor_set_out={out}", "--include_imports", "--include_source_info"),
            *sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / "postil/v1").glob("*.proto")),
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        return FileDescriptorSet.FromString(out.read_bytes())


def main() -> None:
    fresh = json.dumps(Document(Schema(described())).make(), indent=1, ensure_ascii=False) + "\n"
    if DOCUMENT.exists() and DOCUMENT.read_text() == fresh:
        return
    if "--check" in sys.argv:
        sys.exit(f"stale, run `make protos`: {DOCUMENT.relative_to(ROOT)}")
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(fresh)


if __name__ == "__main__":
    main()
