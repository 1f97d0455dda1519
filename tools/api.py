"""Write docs/api.md, the list of calls, from the protos: what each does, its URLs, whether it is built.

python tools/api.py           write (`make fix`)
python tools/api.py --check   write nothing; exit 1 when the page is stale (`make verify`)
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos/postil/v1"
PAGE = ROOT / "docs/api.md"
LATER = "Not built yet: answers UNIMPLEMENTED."  # how a call's comment says that the server does not have it
SHORT = {
    "/v2/users/{user_app_id.user_id}/apps/{user_app_id.app_id}": "{A}",
    "/v2/users/{user_app_id.user_id}": "{U}",
}
INTRO = """\
# Calls

Generated from `protos/postil/v1` by `make fix`; what each message and field means stands there.

Every call answers under two names over gRPC, `postil.v1.SERVICE/CALL` and `clarifai.api.V2/CALL`.
The URLs are those of the JSON door, which [http.md](http.md) describes; a server shows the same list at `/docs`.
In them `{A}` stands for `/v2/users/{user_app_id.user_id}/apps/{user_app_id.app_id}`,
and `{U}` for `/v2/users/{user_app_id.user_id}`.

A request that fails answers gRPC OK with the reason in `status`.
gRPC errors are for transport, and for calls that are not built yet (UNIMPLEMENTED).
"""

_CALL = re.compile(r"((?:^  //[^\n]*\n)+)^  rpc (\w+)\(", re.MULTILINE)
_SERVICE = re.compile(r"((?:^//[^\n]*\n)+)^service (\w+) ", re.MULTILINE)


def comments(text: str, pattern: re.Pattern[str]) -> dict[str, str]:
    """Name -> the comment above it, as one line."""
    return {name: " ".join(re.sub(r"^ *// ?", "", above, flags=re.MULTILINE).split())
            for above, name in pattern.findall(text)}  # fmt: skip


def service_files() -> list[FileDescriptor]:
    """The protos that declare a service, by name."""
    stems = sorted(path.stem for path in PROTOS.glob("*.proto"))
    files = [importlib.import_module(f"postil.v1.{stem}_pb2").DESCRIPTOR for stem in stems]
    return [file for file in files if file.services_by_name]


def later() -> set[str]:
    """The calls whose comment says that they are not built yet."""
    texts = [path.read_text() for path in PROTOS.glob("*_service.proto")]
    return {name for text in texts for name, said in comments(text, _CALL).items() if LATER in said}


def _url(rule: HttpRule) -> str:
    verb = rule.WhichOneof("pattern") or "get"
    path = getattr(rule, verb)
    for long, short in SHORT.items():
        path = path.replace(long, short)
    return f"`{verb.upper()} {path}`"


def _row(call: MethodDescriptor, said: str) -> str:
    rule = call.GetOptions().Extensions[annotations_pb2.http]
    urls = "<br>".join(_url(one) for one in (rule, *rule.additional_bindings))
    built = "later" if LATER in said else "yes"
    return f"| `{call.name}` | {built} | {said.replace(LATER, '').strip()} | {urls} |"


def page() -> str:
    """The whole of docs/api.md."""
    parts = [INTRO]
    for file in service_files():
        text = (PROTOS / Path(file.name).name).read_text()
        said, about = comments(text, _CALL), comments(text, _SERVICE)
        for service in file.services_by_name.values():
            rows = [_row(call, said[call.name]) for call in service.methods]
            table = ["| call | built | what it does | URLs |", "|---|---|---|---|", *rows]
            parts.append(f"## {service.name}\n\n{about[service.name]}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def main() -> None:
    fresh = page()
    if PAGE.exists() and PAGE.read_text() == fresh:
        return
    if "--check" in sys.argv:
        sys.exit(f"stale, run `make fix`: {PAGE.relative_to(ROOT)}")
    PAGE.write_text(fresh)


if __name__ == "__main__":
    main()
