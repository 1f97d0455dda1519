"""`postil feedback stats`: how good the searches of an app were, and whether learning made them better."""

from __future__ import annotations

from collections.abc import Iterable

import click
import grpc
from rich.console import Console
from rich.table import Table

from postil.v1.feedback_service_pb2 import GetSearchQualityRequest, SearchQuality
from postil.v1.feedback_service_pb2_grpc import FeedbackStub
from postil_client import Client, PostilError

_WIDTH = 150  # of the table in a file or a log
_COLUMNS = (
    "searches", "clicks", "clicked", "click-through", "reciprocal rank", "judged", "nDCG before", "after",
    "better", "same", "worse",
)  # fmt: skip


def stats(client: Client, *, by_end_user: bool, by_query_family: bool) -> int:
    """Prints GetSearchQuality as a table; gives the exit code."""
    request = GetSearchQualityRequest(by_end_user=by_end_user, by_query_family=by_query_family)
    try:
        found = client.call(FeedbackStub(client.channel).GetSearchQuality, request)
    except PostilError as error:
        return _refuse(f"{error.code} {error.description}: {error.details}")
    except grpc.RpcError as error:
        return _refuse(f"the server cannot be reached: {error.details() if hasattr(error, 'details') else error}")
    table = Table("", *_COLUMNS)
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("all", *_cells(found.total))
    _section(table, "end user", found.end_users)
    _section(table, "family", found.families)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)
    return 0


def _refuse(text: str) -> int:
    click.echo(f"postil: {text}", err=True)
    return 1


def _section(table: Table, kind: str, parts: Iterable[SearchQuality]) -> None:
    for part in parts:
        table.add_row(f"{kind} {part.name}" if part.name else f"no {kind}", *_cells(part))


def _cells(one: SearchQuality) -> tuple[str, ...]:
    figures = [f"{one.ndcg_before:.3f}", f"{one.ndcg_after:.3f}", str(one.wins), str(one.ties), str(one.losses)]
    return (
        str(one.searches),
        str(one.clicks),
        str(one.clicked_searches),
        f"{one.click_through_rate:.1%}" if one.searches else "",
        f"{one.mean_reciprocal_rank:.3f}" if one.clicks else "",
        str(one.judged),
        *(figures if one.judged else [""] * len(figures)),
    )
