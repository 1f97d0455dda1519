"""`postil search`: look into a running server from the terminal: what is found, how sure, by which plan, how fast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import grpc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from postil.v1.common_pb2 import Pagination
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.search_pb2 import Filter, Hit, Query, Rank, Search, SearchDebug
from postil.v1.search_service_pb2 import (
    MultiSearchResponse,
    PostAnnotationsSearchesRequest,
    PostInputsSearchesRequest,
)
from postil.v1.search_service_pb2_grpc import SearchesStub
from postil_client import Client, PostilError, build

_LABELS_SHOWN = 4
_WIDTH = 130  # of the table in a file or a pipe
_MEDIA = ("image", "video", "text")


class BadFilter(ValueError):
    """A --filter that cannot be read; the text says how to write it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the command line asks.

    Args:
        images: Files to look like.
        urls: Pictures to look like, fetched by the server.
        texts: Texts to mean the same as.
        inputs: Ids of stored inputs to be like.
        concepts: Ids that shall be there.
        absent: Ids that shall not be there.
        filters: `KEY=VALUE` each, all of which must hold.
    """

    images: Sequence[Path] = ()
    urls: Sequence[str] = ()
    texts: Sequence[str] = ()
    inputs: Sequence[str] = ()
    concepts: Sequence[str] = ()
    absent: Sequence[str] = ()
    filters: Sequence[str] = field(default=())

    def query(self) -> Query:
        """The message; raises BadFilter."""
        pictures: list[Path | str] = [*self.images, *self.urls]
        ranks = [build.rank(data=Data(image=build.image(one))) for one in pictures]
        for text in self.texts:
            ranks.append(build.rank(data=Data()))
            ranks[-1].annotation.data.text.raw = text
        ranks += [build.rank(input_id=one) for one in self.inputs]
        ranks += [_concept(one, 1.0) for one in self.concepts] + [_concept(one, 0.0) for one in self.absent]
        return Query(ranks=ranks, filters=[read_filter(text) for text in self.filters])


def _concept(concept_id: str, value: float) -> Rank:
    return build.rank(data=Data(concepts=[Concept(id=concept_id, value=value)]))


def read_filter(text: str) -> Filter:
    """One `KEY=VALUE` as a filter; raises BadFilter."""
    key, equals, value = text.partition("=")
    name = key.removeprefix("metadata.")
    found = Filter()
    if not equals or not value:
        raise BadFilter(f"--filter {text!r} is not KEY=VALUE, for example concept=cat")
    if name != key:
        found.annotation.data.metadata[name] = _scalar(value)
    elif key in ("concept", "not-concept"):
        found.annotation.data.concepts.add(id=value, value=1.0)
        found.negate = key == "not-concept"
    elif key == "user":
        found.annotation.user_id = value
    elif key == "input":
        found.annotation.input_id = value
    elif key == "media" and value in _MEDIA:
        getattr(found.input.data, value).SetInParent()
    else:
        raise BadFilter(
            f"--filter {text!r} is unknown; use concept=ID, not-concept=ID, metadata.KEY=VALUE, user=ID, input=ID, "
            f"or media={'|'.join(_MEDIA)}"
        )
    return found


def _scalar(value: str) -> str | float | bool:
    """A JSON scalar as people type it."""
    if value in ("true", "false"):
        return value == "true"
    try:
        return float(value)
    except ValueError:
        return value


def search(client: Client, question: Question, *, unit: str, top: int, min_value: float) -> int:
    """Asks, prints a table of hits, the plan and the times. Gives the exit code."""
    try:
        asked = Search(query=question.query(), min_value=min_value, debug=True)
        begun = time.perf_counter()
        answer = _ask(client, asked, unit, Pagination(page=1, per_page=top))
        took = (time.perf_counter() - begun) * 1000
    except (BadFilter, OSError) as error:
        return _refuse(str(error))
    except PostilError as error:
        return _refuse(f"{error.code} {error.description}: {error.details}")
    except grpc.RpcError as error:
        return _refuse(f"the server cannot be reached: {error.details() if hasattr(error, 'details') else error}")
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(_hits(answer.hits))
    for line in _told(answer.debug, took):
        console.print(line, highlight=False)
    return 0


def _ask(client: Client, asked: Search, unit: str, page: Pagination) -> MultiSearchResponse:
    stub = SearchesStub(client.channel)
    if unit == "inputs":
        return client.call(stub.PostInputsSearches, PostInputsSearchesRequest(searches=[asked], pagination=page))
    request = PostAnnotationsSearchesRequest(searches=[asked], pagination=page)
    return client.call(stub.PostAnnotationsSearches, request)


def _hits(hits: Sequence[Hit]) -> Table:
    table = Table(title=f"{len(hits)} hit{'' if len(hits) == 1 else 's'}", title_justify="left", header_style="bold")
    for heading, side in (("#", "right"), ("score", "right"), ("input", "left"), ("where", "left"), ("labels", "left")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    for number, hit in enumerate(hits, start=1):
        cells = (hit.input.id, _where(hit), _labels(hit))
        table.add_row(str(number), f"{hit.score:.4f}", *map(escape, cells))
    return table


def _where(hit: Hit) -> str:
    data = hit.annotation.data
    regions = data.regions or (data.frames[0].data.regions if data.frames else [])
    if not regions:
        return "whole input" if hit.annotation.input_level else "label"
    info = regions[0].region_info
    if info.HasField("bounding_box"):
        box = info.bounding_box
        return f"box {box.top_row:.2f},{box.left_col:.2f} to {box.bottom_row:.2f},{box.right_col:.2f}"
    return next((shape.name for shape, _ in info.ListFields()), "region")


def _labels(hit: Hit) -> str:
    data = hit.annotation.data
    concepts = [*data.concepts, *(concept for region in data.regions for concept in region.data.concepts)]
    shown = [("" if concept.value else "not ") + concept.name for concept in concepts[:_LABELS_SHOWN]]
    return ", ".join(shown) + (f" and {len(concepts) - len(shown)} more" if len(concepts) > len(shown) else "")


def _told(debugs: Sequence[SearchDebug], took: float) -> list[str]:
    lines = []
    for debug in debugs:
        walks = f" ({', '.join(debug.walks)})" if debug.walks else ""
        matching = f", {debug.matching} annotations pass the filters" if debug.matching else ""
        lines.append(f"plan: {debug.plan}{walks}{matching}")
        lines.append("steps: " + ", ".join(f"{step.name} {step.micros / 1000:.2f} ms" for step in debug.steps))
    return [*lines, f"{took:.1f} ms, there and back"]


def _refuse(text: str) -> int:
    click.echo(f"postil: {text}", err=True)
    return 1
