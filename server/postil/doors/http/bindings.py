"""Which RPC an HTTP verb and path mean: a tree of path segments, built from the google.api.http options.

Literal segments win over captures (`/inputs/status` over `/inputs/{input_id}`), and a dead end backs out, so that
`DELETE /inputs/status` still deletes the input of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import FieldDescriptor

from postil.doors.rpc.methods import Method

# Published samples of the vendor's documentation misspell this path; they answer too.
_MISSPELT = ("/annotations/searches", "/annnotations/searches")


class Binding(NamedTuple):
    """One way to reach an RPC."""

    verb: str  # "POST"
    path: str  # as in the option: "/v2/users/{user_app_id.user_id}/inputs"
    body: bool  # the request message is read from the body
    method: Method

    @property
    def segments(self) -> list[str]:
        """The path cut at its slashes."""
        return self.path.strip("/").split("/")

    @property
    def captures(self) -> list[str]:
        """Dotted names of the fields that the path fills in, in order."""
        return [segment[1:-1] for segment in self.segments if _is_capture(segment)]


class Match(NamedTuple):
    """What a request line means."""

    binding: Binding
    captured: Sequence[tuple[str, str]]  # dotted name of a field and what the path says of it, decoded, in order


class _Node:
    """The paths that share a beginning."""

    __slots__ = ("bindings", "capture", "literals")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.capture: _Node | None = None
        self.bindings: dict[str, Binding] = {}  # by verb


def bindings_of(method: Method) -> Iterator[Binding]:
    """Every binding that an RPC's option declares, but for those whose path names a field that the request lacks: they
    belong to parts of the mirrored schema that are left out."""
    rule = method.descriptor.GetOptions().Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        binding = _binding(one, method)
        if all(_leads_to_a_text(capture, method.request.DESCRIPTOR) for capture in binding.captures):
            yield binding


def _leads_to_a_text(capture: str, descriptor: Any) -> bool:
    *hops, last = capture.split(".")
    for hop in hops:
        field = descriptor.fields_by_name.get(hop)
        if field is None or field.message_type is None:
            return False
        descriptor = field.message_type
    field = descriptor.fields_by_name.get(last)
    return field is not None and field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def _binding(rule: HttpRule, method: Method) -> Binding:
    verb = rule.WhichOneof("pattern")
    if verb not in {"get", "post", "put", "patch", "delete"} or rule.body not in {"", "*"}:
        raise ValueError(f"the HTTP binding of {method.name} is of a kind that the gateway does not know: {rule}")
    return Binding(verb.upper(), getattr(rule, verb), rule.body == "*", method)


class Routes:
    """Finds the binding that a request means.

    Args:
        methods: The RPCs to reach.

    Raises:
        ValueError: Two RPCs claim the same verb and path.
    """

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._root = _Node()
        self._plain: dict[tuple[str, str], Match] = {}  # paths that capture nothing, found in one step
        for method in methods.values():
            for binding in bindings_of(method):
                self._add(binding, binding.path)
                if binding.path.endswith(_MISSPELT[0]):
                    self._add(binding, binding.path.replace(*_MISSPELT))

    def find(self, verb: str, path: str) -> Match | None:
        """The binding of a verb and a path that is still percent-encoded, one trailing slash tolerated."""
        known = self._plain.get((verb, path))
        if known is not None:
            return known
        segments = _segments(path)
        for node, captured in _walk(self._root, segments, 0, ()):
            binding = node.bindings.get(verb)
            if binding is not None:
                return Match(
                    binding, [(name, unquote(text)) for name, text in zip(binding.captures, captured, strict=True)]
                )
        return None

    def verbs(self, path: str) -> set[str]:
        """The verbs that a path has; none when there is no such path."""
        return {verb for node, _ in _walk(self._root, _segments(path), 0, ()) for verb in node.bindings}

    def _add(self, binding: Binding, path: str) -> None:
        node = self._root
        for segment in path.strip("/").split("/"):
            if _is_capture(segment):
                node.capture = node.capture or _Node()
                node = node.capture
            else:
                node = node.literals.setdefault(segment, _Node())
        if not binding.captures:
            self._plain[binding.verb, path] = Match(binding, [])
        other = node.bindings.setdefault(binding.verb, binding)
        if other is not binding:
            raise ValueError(f"{other.method.name} and {binding.method.name} both claim {binding.verb} {path}")


def _is_capture(segment: str) -> bool:
    return segment.startswith("{")


def _segments(path: str) -> list[str]:
    return path.removeprefix("/").removesuffix("/").split("/")


def _walk(
    node: _Node, segments: Sequence[str], at: int, captured: tuple[str, ...]
) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    """The nodes that a path leads to, those with literals first."""
    if at == len(segments):
        yield node, captured
        return
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None:
        yield from _walk(literal, segments, at + 1, captured)
    if node.capture is not None and segment:
        yield from _walk(node.capture, segments, at + 1, (*captured, segment))
