"""Fill the generated parts of the documentation from the code they describe: settings and commands.

python tools/docs.py           write (`make fix`)
python tools/docs.py --check   write nothing; exit 1 and name what is stale (`make verify`)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from postil import cli, config

ROOT = Path(__file__).resolve().parent.parent


def commands() -> str:
    """Each command of `postil`, and its options unless they are all the settings of the table above."""
    group = cli.main
    assert isinstance(group, click.Group)  # noqa: S101 - what the loop below relies on
    settings = {row.name for row in config.settings()}
    lines = ["| command | what it does |", "|---|---|"]
    for name, command in sorted(leaves(group)):
        every = settings <= {one.name for one in command.params}
        shown = [_usage(one) for one in command.params if not (every and one.name in settings)]
        usage = " ".join([f"postil {name}", *shown, *(["[SETTING...]"] if every else [])])
        lines.append(f"| `{usage}` | {_oneline(command.help or '')} |")
    return "\n".join(lines) + "\n"


def leaves(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _usage(param: click.Parameter) -> str:
    if isinstance(param, click.Argument):
        return param.human_readable_name
    shown = param.opts[0]
    if not getattr(param, "is_flag", False):
        shown += f" {param.metavar or param.type.name.upper()}"
    return shown if param.required else f"[{shown}]"


def _oneline(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


PARTS: dict[str, Callable[[], str]] = {"settings": config.reference, "commands": commands}


def filled(text: str) -> str:
    """The page with each generated part as the code has it now."""
    for name, make in PARTS.items():
        pattern = re.compile(rf"(<!-- begin: {name} [^\n]*-->\n).*?(<!-- end: {name} -->)", re.DOTALL)
        part = make().replace("\\", r"\\")
        text = pattern.sub(rf"\1\n{part}\n\2", text)
    return text


def main() -> None:
    stale = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text()
        fresh = filled(text)
        if fresh != text:
            stale.append(str(page.relative_to(ROOT)))
            if "--check" not in sys.argv:
                page.write_text(fresh)
    if stale:
        print(f"{'stale, run `make fix`' if '--check' in sys.argv else 'written'}: {', '.join(stale)}")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
