"""What filters keep in memory is bounded by what is alive, however much was written and deleted; and stays right."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from pyroaring import BitMap

from postil.index import checkpoint, columns
from postil.index.catalog import AppCatalog
from postil.index.catalogs import Catalogs
from postil.index.checkpoint import Stamp
from postil.index.columns import Columns
from postil.index.marks import LEVEL, METADATA, json_tokens, present
from postil.index.places import CHUNK, Places
from postil.store.base import AnnotationFact, AnnotationRecord, Facts, InputFact
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from support.search_world import World
from support.waiting import until

ROW_BYTES = 56  # of all columns
STAMP = Stamp("store", "schema")


def test_long_metadata_is_not_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(64):
            struct = Struct()
            struct.update({"note": str(number) * 250_000})
            assert len(set(json_tokens(METADATA, struct))) == 1
        del struct
        assert tracemalloc.get_traced_memory()[0] < 2 << 20  # what was read is 28 MB
    finally:
        tracemalloc.stop()


def test_places_follow_rows_through_packing() -> None:
    numbers = np.random.default_rng(5)
    places, values = Places(), np.zeros(CHUNK, np.int64)
    alive: dict[int, int] = {}
    next_row = 0
    for _ in range(60):
        next_row += int(numbers.integers(0, 200))
        rows = numbers.permutation(np.arange(next_row, next_row + int(numbers.integers(1, 300))))
        next_row = int(rows.max()) + 1
        for part in np.array_split(rows, 3):  # in no order
            places.add(part)
        values = np.concatenate([values, np.zeros(places.size - len(values), np.int64)])
        values[places.at(rows)] = rows + 7
        alive.update((row, row + 7) for row in rows.tolist())
        if numbers.random() < 0.5:
            low, high = sorted(numbers.integers(0, next_row, 2).tolist())
            alive = {row: value for row, value in alive.items() if not low <= row < high}
            values[~np.isin(values - 7, np.array(list(alive)))] = 0
            wanted = np.logical_or.reduce(values.reshape(-1, CHUNK) > 0, axis=1)
            places, kept = places.packed(wanted)
            values = values.reshape(-1, CHUNK)[kept].ravel()
            places = Places(places.chunks, places.end)  # as kept in a file
        every = np.arange(places.end)
        truth = [alive.get(row, 0) for row in every.tolist()]
        assert values[places.at(every)].tolist() == truth
        assert [int(values[places.place(row)]) for row in every[::37].tolist()] == truth[::37]
        assert places.rows_where(values[CHUNK:] > 0).tolist() == sorted(alive)
        assert not values[:CHUNK].any()
        assert places.place(places.end + 1) < CHUNK
    assert places.size < places.end / 2


def test_columns_of_two_million_rows_stay_as_small_as_what_is_alive() -> None:
    held, batch = Columns(), 10_000
    kept: list[int] = []
    for start in range(1, 2_000_000, batch):
        rows = list(range(start, start + batch))
        held.reserve(rows, rows)
        places = held.at(np.array(rows))
        held.kinds[places] = [held.interned((("status", 1), ("task", f"{start}-{row % 50}"))) for row in rows]
        held.created[places] = held.levels[places] = rows
        for row in rows[::20]:
            held.put_level(row, row)
        held.born(batch)
        kept += rows[:: 10 * batch]  # one in the batch is kept for ever
        if start > batch:
            held.forget(range(start - batch + 1, start))
        if held.wasteful:
            held.sweep()
        lonely = start // batch * CHUNK  # places: a row that stays alone keeps its chunk
        assert held.size < 4 * batch + 2 * lonely
        assert held.nbytes < 1.5 * (ROW_BYTES + 4) * (4 * batch + 2 * lonely) + 3 * 8 * (start + batch) / CHUNK
        assert len(held.sets()) < 4096 + 2 * (2 * 50 + start // batch) + 50
    held.sweep()
    assert held.created[held.at(np.array(kept))].tolist() == kept
    assert [held.members(int(held.kinds[held.place(row)]))[1] for row in kept] == [("task", f"{row}-1") for row in kept]
    assert [held.level_of_input(row) for row in kept] == kept
    assert held.nbytes < 0.04 * ROW_BYTES * 2_000_000


class Living:
    """What an app should hold, and the writes that make it so."""

    def __init__(self) -> None:
        self.annotations: dict[int, AnnotationFact] = {}
        self.inputs: dict[int, InputFact] = {}

    def facts(self) -> Facts:
        return Facts(
            tuple(self.annotations[row] for row in sorted(self.annotations)),
            tuple(self.inputs[row] for row in sorted(self.inputs)),
        )

    def post(self, draw: random.Random, row: int) -> tuple[Facts, int]:
        """New inputs, with regions, and changes of old ones. Gives the next row too, which numbers inputs as well."""
        fresh = Living()
        for _ in range(draw.randrange(60)):
            owner = row
            fresh.inputs[owner] = InputFact(owner, row, draw.choice([30000, 30001]), Input(id="x").SerializeToString())
            for place in range(draw.randrange(1, 5)):
                fresh.annotations[row] = said(draw, row, owner, level=place == 0)
                row += 1
            row += draw.randrange(3) ** 3  # rows that were reserved and not used
        for changed in draw.sample(sorted(self.annotations), min(5, len(self.annotations))):
            record = self.annotations[changed].record
            fresh.annotations[changed] = said(draw, changed, record.input, level=record.input_level)
        for changed in draw.sample(sorted(self.inputs), min(3, len(self.inputs))):
            fresh.inputs[changed] = self.inputs[changed]._replace(status=draw.choice([30000, 30001]))
        self.annotations.update(fresh.annotations)
        self.inputs.update(fresh.inputs)
        return fresh.facts(), row

    def delete(self, draw: random.Random, young: int) -> list[int]:
        """Inputs, most of them young, and a few regions. Gives the rows of the annotations."""
        gone = {one for one in self.inputs if draw.random() < (0.25 if one > young else 0.05)}
        rows = [row for row, fact in self.annotations.items() if fact.record.input in gone]
        rows += [row for row, fact in self.annotations.items() if not fact.record.input_level and draw.random() < 0.02]
        for row in rows:
            self.annotations.pop(row, None)
        for one in gone:
            del self.inputs[one]
        return sorted(set(rows))


def said(draw: random.Random, row: int, owner: int, *, level: bool) -> AnnotationFact:
    message = Annotation(id=f"a{row}", input_id=f"i{owner}", input_level=level)
    message.data.metadata.update({"round": draw.randrange(5), "tag": f"t{draw.randrange(40)}", "own": row})
    if draw.random() < 0.3:
        message.data.geo.geo_point.latitude = draw.uniform(-80, 80)
        message.data.geo.geo_point.longitude = draw.uniform(-80, 80)
    record = AnnotationRecord(
        row, f"a{row}", owner, row, message.SerializeToString(), 24150, True, level, False,
        "me", "", "", f"task-{draw.randrange(3)}", 1000 + row, 1000 + row + draw.randrange(500),
    )  # fmt: skip
    return AnnotationFact(record, tuple((concept, 1.0) for concept in draw.sample(range(1, 30), 3)))


def answers(catalog: AppCatalog, rows: int) -> list[BitMap]:
    """What every kind of filter finds."""
    levels = BitMap(list(catalog.marked(LEVEL))[::2])
    found = [catalog.all, catalog.of_levels(levels), catalog.levels_of(catalog.all - levels)]
    found += [catalog.marked(present(concept)) for concept in range(1, 30)]
    found += [catalog.marked(("task", f"task-{number}")) for number in range(3)]
    found += [catalog.marked(("input_status", status)) for status in (30000, 30001)]
    found += [catalog.created_by(1000 + rows // 2), catalog.modified_between(1000 + rows // 3, 1000 + rows)]
    found += [catalog.in_box(-30, 40, -50, 60), catalog.within(10, 10, 1.0), catalog.within(0, 0, 3.2)]
    found += [catalog.with_id(f"a{row}") for row in range(0, rows, max(1, rows // 40))]
    for key, values in (("round", range(5)), ("tag", (f"t{n}" for n in range(40))), ("own", range(0, rows, 97))):
        for value in values:
            struct = Annotation().data.metadata
            struct.update({key: value})
            (token,) = json_tokens(METADATA, struct)
            found.append(catalog.with_token(token))
    return found


def members(catalog: AppCatalog) -> list[list[int]]:
    return [[row for row in catalog.members(level).tolist() if row in catalog.all] for level in catalog.marked(LEVEL)]


@pytest.mark.parametrize("seed", [1, 2])
def test_filters_stay_right_and_small_while_all_is_written_and_deleted(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_LEAST", 200)
    draw = random.Random(seed)
    shared, sweeps, row = Columns(), 0, 1
    apps = {number: AppCatalog(shared) for number in (1, 2)}
    truth = {number: Living() for number in apps}
    for _ in range(120):
        number = 1 if draw.random() < 0.8 else 2
        facts, row = truth[number].post(draw, row)
        apps[number].put(facts)
        apps[number].remove(np.array(truth[number].delete(draw, row - 1000), np.int64))
        if shared.wasteful:
            shared.sweep()
            sweeps += 1
            for app in apps.values():
                app.tidy()
    assert sweeps > 3
    alive = sum(len(living.annotations) for living in truth.values())
    assert alive > 100
    assert row > 10 * alive
    agree(shared, apps, truth, row)
    assert shared.size < 12 * (alive + 200)  # the old that stay lie alone
    assert len(shared.sets()) < 3 * (3 * alive + 200)
    for number, app in apps.items():
        said_now = 3.5 * len(truth[number].annotations)
        assert len(app.parts()[2]) < 2 * (said_now + 3 * 200) + 4096

    taken = checkpoint.snapshot(STAMP, 1, shared, apps)
    checkpoint.save(tmp_path, taken)
    assert (tmp_path / checkpoint.FILE).stat().st_size < row * ROW_BYTES
    saved = checkpoint.load(tmp_path, STAMP, 1)
    assert saved is not None
    agree(saved.columns, saved.apps, truth, row)


def agree(shared: Columns, apps: dict[int, AppCatalog], truth: dict[int, Living], rows: int) -> None:
    """They answer as catalogs that never knew what is gone."""
    for number, living in truth.items():
        plain = AppCatalog(Columns())
        plain.put(living.facts())
        app = apps[number]
        assert answers(app, rows) == answers(plain, rows)
        assert members(app) == members(plain)
        every = np.array(app.all.to_array(), np.int64)
        assert app.level_of(every).tolist() == plain.level_of(every).tolist()
        assert shared.alive(every).all()


def test_a_server_that_posts_and_deletes_lets_go_of_what_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_LEAST", 100)
    world = World(tmp_path / "data")
    catalogs = Catalogs(world.store, tmp_path, "1")
    catalogs.start()
    world.add("stays", None, {"cat": 1})

    def post_and_delete(first: int) -> None:
        for i in range(first, first + 300):
            world.add(f"i{i}", None, {"cat": 1, f"c{i}": 1})
        read = world.store.read()
        found = [read.input(world.app.row, f"i{i}") for i in range(first, first + 300)]
        world.store.write(lambda tx: tx.delete_inputs(world.app.row, [one.row for one in found if one is not None]))

    def small(one: Catalogs) -> bool:
        return one._columns.size <= 3 * CHUNK and len(one._columns.sets()) < 10

    sizes = []
    for first in (0, 300, 600):
        post_and_delete(first)
        until(lambda: small(catalogs), 120)
        sizes.append(catalogs.nbytes())
    assert all(later < before + 500 for before, later in pairwise(sizes))
    catalogs.close()
    assert (tmp_path / checkpoint.FILE).stat().st_size < 10_000
    later = Catalogs(world.store, tmp_path, "1")
    later.start()
    world.add("new", None, {"cat": 1})
    concept = world.store.read().list_concepts(world.app.row, "", 0, 1)[0]
    for one in (later, world.catalogs):
        with one.hold(world.app.row) as catalog:
            assert len(catalog.all) == len(catalog.marked(present(concept.row))) == 2
    assert small(later)
    later.close()
    world.store.close()
