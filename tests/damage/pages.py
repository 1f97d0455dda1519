"""Database pages: each case damages a copy of a database and looks who notices, and that nothing else comes of it.

An outcome is one of: *refused* (the server does not start, and says why), *found* (the check of the pages and of rows,
which every server runs after it starts; from then on it writes nothing), *verify* (only `postil verify` finds it),
*read* (a read met it), *same* (every row reads as before), *silent* (a row reads differently and nobody can tell).
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from damage.harm import BLOCK
from postil.core.agreement import disagreements
from postil.store.base import Corrupt, TooOld, WriteFailed
from postil.store.damage import Broken
from postil.store.layout import DATABASE
from postil.store.migrations import NewerSchema
from postil.store.sql import PAGE_BYTES
from postil.store.sqlite import SqliteStore
from postil.store.verify import verify
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import PostAnnotationsRequest
from postil.v1.app_pb2 import App
from postil.v1.app_service_pb2 import PostAppsRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import PostConceptLanguagesRequest
from postil.v1.data_pb2 import Data
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.key_pb2 import Key
from postil.v1.key_service_pb2 import PostKeysRequest
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from support import belongings
from support.photos import photo
from support.server import OWN, Server
from support.stores import Filler

_ALLOWED = (Corrupt, WriteFailed)
_GARBLED = (TooOld, ValueError, TypeError, LookupError, OverflowError)


class Pages:
    """A sound data directory, to be damaged as often as one likes.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._good, self._path = served(folder), folder / "damaged"
        self._truth = dump(self._good / DATABASE)
        self._size = (self._good / DATABASE).stat().st_size
        self.counts: Counter[str] = Counter()

    def case(self, seed: int) -> str:
        """Runs one case; its outcome. Raises AssertionError on an error that no caller should see."""
        rng = random.Random(seed)
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._good, self._path, ignore=shutil.ignore_patterns("models", "index", "audit", "thumbnails"))
        harm = rng.choice(HARMS)
        content = bytearray((self._path / DATABASE).read_bytes())
        harm(content, rng)
        (self._path / DATABASE).write_bytes(content)
        try:
            outcome = self._outcome()
        except BaseException as error:
            error.add_note(f"case {seed}: {harm.__name__}")
            raise
        self.counts[outcome] += 1
        self.counts[f"{harm.__name__} {outcome}"] += 1
        return outcome

    def _outcome(self) -> str:
        try:
            store = SqliteStore(self._path)
        except NewerSchema:  # a changed name of a step is one that this version does not know
            return "refused"
        except _ALLOWED as error:
            return "refused" if "postil restore" in str(error) else f"refused without a remedy: {error}"
        with closing(store):
            met = _walk(store)
            checker = store.checker()
            checker.start()
            checker.wait()
            if store.health.damage:
                _refuses_writes(store)
                return "found"
        if list(verify(self._path, disagreements)):
            return "verify"
        if met:
            return "read"
        return "same" if dump(self._path / DATABASE) == self._truth else "silent"


def _walk(store: SqliteStore) -> bool:
    """Reads what a server reads; whether it met damage. Anything but the contract's errors is raised."""
    met = False
    for read in (
        lambda: store.read().list_inputs(1, [], [], 0, 1000),
        lambda: store.read().scan_facts(0, 1000),
        lambda: [store.read().scan_vectors(space.row, 0, 1000) for space in store.read().all_spaces()],
        lambda: store.read().list_concepts(1, "", 0, 1000),
        lambda: list(store.changes(0)),
        lambda: store.read().hits(list(range(1, 200))),
    ):
        try:
            read()
        except Exception as error:
            # A number or a text that the row cannot hold is met, though SQLite does not name it.
            if not isinstance(store.health.explain(error), (*_ALLOWED, *_GARBLED)):
                raise
            met = True
    return met


def _refuses_writes(store: SqliteStore) -> None:
    with pytest.raises(Broken, match="postil restore"):
        store.write(lambda tx: tx.put_setting("x", "y"))


def served(folder: Path) -> Path:
    """The data directory of a server at rest that was given some of everything."""
    server = Server(folder)
    try:
        place = UserAppIDSet(user_id="me", app_id="full")
        call = partial(_good, server)
        call("PostApps", PostAppsRequest(user_app_id=UserAppIDSet(user_id="me"), apps=[App(id=place.app_id)]))
        belongings.fill(call, place)
        _many(call, UserAppIDSet(user_id="me", app_id="many"))
        call("PostKeys", PostKeysRequest(user_app_id=UserAppIDSet(user_id="me"), keys=[Key(scopes=["Search"])] * 20))
    finally:
        server.stop()
    return server.data_dir


def _good(server: Server, rpc: str, request: Any) -> Any:
    answer = server.call(OWN, rpc, request, timeout=120)
    assert answer.status.code == 10000, (rpc, answer.status)
    return answer


def _many(call: Callable[[str, Any], Any], place: UserAppIDSet) -> None:
    """Inputs with vectors and labels, pictures with predictions, annotations, clicks, saved searches, languages."""
    rng = np.random.default_rng(5)
    inputs = PostInputsRequest(user_app_id=place)
    for number in range(100):
        item = inputs.inputs.add(id=f"input-{number}")
        item.data.embeddings.add(vector=rng.standard_normal(128).tolist())
        item.data.concepts.add(id=f"concept-{number % 20}", value=1)
        item.data.metadata["shelf"] = number
    for name in ("coffee.png", "chelsea.png", "rocket.jpg"):
        inputs.inputs.add(id=name).data.image.base64 = photo(name)
    call("PostInputs", inputs)
    notes = []
    for number in range(60):
        said = Data(concepts=[Concept(id=f"concept-{number % 20}", value=number % 2)])
        notes.append(Annotation(input_id=f"input-{number}", data=said))
    call("PostAnnotations", PostAnnotationsRequest(user_app_id=place, annotations=notes))
    for number in range(20):
        rank = Rank(annotation=Annotation(data=Data(concepts=[Concept(id=f"concept-{number}", value=1)])))
        search = Search(id=f"saved-{number}", query=Query(ranks=[rank]), save=True)
        call("PostInputsSearches", PostInputsSearchesRequest(user_app_id=place, searches=[search]))
        names = PostConceptLanguagesRequest(user_app_id=place, concept_id=f"concept-{number}")
        names.concept_languages.add(id="de", name=f"Begriff {number}")
        call("PostConceptLanguages", names)


def furnish(path: Path) -> None:
    """A few hundred rows of every common kind, folded into the database file."""
    with SqliteStore(path) as store:
        fill = Filler(store)
        app = fill.app()
        concepts = [fill.concept(app, f"concept-{n}", f"Concept {n}").row for n in range(20)]
        inputs = fill.inputs(app, *(f"input-{n}" for n in range(150)), message=b"an input " * 20)
        for n, record in enumerate(inputs[:60]):
            fill.annotation(app, record, f"note-{n}", {concepts[n % 20]: 1.0}, message=b"a note " * 30)
        rng = np.random.default_rng(5)
        anchors = [record.anchor for record in inputs]
        fill.vectors(app, fill.space(app, 128), anchors, rng.standard_normal((len(anchors), 128)))


def dump(database: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(names)}  # noqa: S608


def _page(content: bytearray, rng: random.Random) -> slice:
    start = rng.randrange(len(content) // PAGE_BYTES) * PAGE_BYTES
    return slice(start, start + PAGE_BYTES)


def zero_page(content: bytearray, rng: random.Random) -> None:
    content[_page(content, rng)] = bytes(PAGE_BYTES)


def garbage_page(content: bytearray, rng: random.Random) -> None:
    content[_page(content, rng)] = rng.randbytes(PAGE_BYTES)


def swap_pages(content: bytearray, rng: random.Random) -> None:
    one, other = _page(content, rng), _page(content, rng)
    content[one], content[other] = content[other], content[one]


def misplace_page(content: bytearray, rng: random.Random) -> None:
    """Written to the place of another."""
    content[_page(content, rng)] = content[_page(content, rng)]


def half_page(content: bytearray, rng: random.Random) -> None:
    """A torn write: the second half of a page is of another time."""
    page = _page(content, rng)
    content[page.start + BLOCK : page.stop] = bytes(BLOCK)


def flip_bit(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def flip_bytes(content: bytearray, rng: random.Random) -> None:
    page = _page(content, rng)
    for _ in range(rng.randint(1, 50)):
        content[rng.randrange(page.start, page.stop)] ^= rng.randint(1, 255)


def cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


HARMS = (zero_page, garbage_page, swap_pages, misplace_page, half_page, flip_bit, flip_bytes, cut)
