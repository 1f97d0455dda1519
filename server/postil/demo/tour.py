"""The demo's steps: post, label, search in every way there is, print what was found."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from postil.demo import material
from postil.v1.search_service_pb2 import MultiSearchResponse
from postil_client import Client, build

_CHUNK = 128
_TOP = 4
_SEVENS_LABELLED = 25
_DIGIT = 7
_PIXELS = "digit-pixels"


class Found(NamedTuple):
    """One search and its answer."""

    question: str
    kind: str
    hits: list[str]
    milliseconds: float
    remark: str


def run(client: Client, console: Console) -> list[Found]:
    """Everything, against a fresh server. Returns the searches, for the table and for a test to look at."""
    photos, digits = material.photos(), material.digits()
    with _progress(console) as progress:
        _post_photos(client, photos, progress)
        _post_digits(client, digits, progress)
        client.add_texts(material.TEXTS)
        _label(client, digits, progress)
    found = [
        _timed(
            "an altered copy of the coffee",
            "bytes",
            lambda: client.search_by_bytes(material.altered(photos["coffee"]), unit="inputs", top=_TOP),
        ),
        _timed(
            "the cat's picture, by its URL",
            "url",
            lambda: client.search_by_picture(client.get("cat").data.image.url, unit="inputs", top=_TOP),
        ),
        _timed(
            "more like the stored 'grass'", "input id", lambda: client.search_by_input("grass", unit="inputs", top=_TOP)
        ),
        _timed("regions like the cat's face", "region", lambda: client.search_by_bytes(_face(photos), top=_TOP)),
        _timed("'a hot drink'", "text", lambda: client.search_by_text("a hot drink", unit="inputs", top=_TOP)),
        _timed(
            "labelled 'animal', and the like",
            "concept",
            lambda: client.search_by_concept("animal", unit="inputs", top=_TOP),
        ),
    ]
    return [*found, _digit_by_vector(client, digits), _digit_by_concept(client, digits)]


def show(found: list[Found], console: Console) -> None:
    """The table."""
    table = Table(title="What the searches found", title_justify="left", header_style="bold")
    for heading in ("search", "rank by", "best hits (score)", "ms", ""):
        table.add_column(heading, justify="right" if heading == "ms" else "left")
    for one in found:
        table.add_row(one.question, one.kind, ", ".join(one.hits[:_TOP]), f"{one.milliseconds:.1f}", one.remark)
    console.print(table)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def _post_photos(client: Client, photos: dict[str, Path], progress: Progress) -> None:
    task = progress.add_task("posting photographs", total=len(photos))
    for name, path in photos.items():
        client.add_pictures({name: path})
        progress.advance(task)


def _post_digits(client: Client, digits: material.Digits, progress: Progress) -> None:
    task = progress.add_task("posting digits as vectors", total=len(digits.digits))
    for start in range(0, len(digits.digits), _CHUNK):
        rows = range(start, min(start + _CHUNK, len(digits.digits)))
        client.add(
            build.make_input(
                f"digit-{row:04d}",
                vector=digits.vectors[row].tolist(),
                space=_PIXELS,
                metadata={"digit": int(digits.digits[row])},
            )
            for row in rows
        )
        progress.advance(task, len(rows))


def _label(client: Client, digits: material.Digits, progress: Progress) -> None:
    sevens = [row for row in range(len(digits.digits)) if digits.digits[row] == _DIGIT][:_SEVENS_LABELLED]
    task = progress.add_task("labelling", total=3 + len(sevens))
    client.label("cat", "animal", absent=["vehicle"])
    client.label("cat", "face", region=build.box(0.1, 0.25, 0.75, 0.75))
    client.label("horse", "animal")
    progress.advance(task, 3)
    client.annotate(build.make_annotation(f"digit-{row:04d}", ["seven"]) for row in sevens)
    progress.advance(task, len(sevens))


def _face(photos: dict[str, Path]) -> bytes:
    with Image.open(photos["cat"]) as picture:
        width, height = picture.size
        box = (int(width * 0.25), int(height * 0.1), int(width * 0.75), int(height * 0.75))
        out = io.BytesIO()
        picture.convert("RGB").crop(box).save(out, "JPEG", quality=85)
    return out.getvalue()


def _timed(question: str, kind: str, search: Callable[[], MultiSearchResponse], remark: str = "") -> Found:
    begun = time.perf_counter()
    response = search()
    took = (time.perf_counter() - begun) * 1000
    hits = []
    for hit in response.hits:
        region = hit.annotation.data.regions
        name = hit.input.id + (f" ({region[0].data.concepts[0].name})" if region and region[0].data.concepts else "")
        hits.append(f"{name} {hit.score:.2f}")
    return Found(question, kind, hits, took, remark)


def _digit_by_vector(client: Client, digits: material.Digits) -> Found:
    row = int((digits.digits == _DIGIT).nonzero()[0][-1])
    found = _timed(
        "pixels of a handwritten 7",
        "vector",
        lambda: client.search_by_vector(digits.vectors[row].tolist(), space=_PIXELS, unit="inputs", top=20),
    )
    return found._replace(remark=_share(found, digits))


def _digit_by_concept(client: Client, digits: material.Digits) -> Found:
    found = _timed(
        f"'seven', after {_SEVENS_LABELLED} labels",
        "concept",
        lambda: client.search_by_concept("seven", unit="inputs", top=_SEVENS_LABELLED + 100),
    )
    unlabelled = found._replace(hits=found.hits[_SEVENS_LABELLED:])
    return unlabelled._replace(question=f"{found.question}, unlabelled ones", remark=_share(unlabelled, digits))


def _share(found: Found, digits: material.Digits) -> str:
    names = [hit.split(" ")[0] for hit in found.hits]
    right = sum(
        int(digits.digits[int(name.removeprefix("digit-"))]) == _DIGIT for name in names if name.startswith("digit-")
    )
    return f"{right} of {len(names)} are sevens"
