"""Random apps: inputs, annotations, labels, metadata, places and vectors, added, changed and deleted."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from postil.store.base import AnnotationRecord, NewInput, Transaction, Vectors
from postil.v1.annotation_pb2 import Annotation
from postil.v1.input_pb2 import Input
from support.search_world import World

CONCEPTS = ("cat", "dog", "tree", "car", "rare")
USERS = ("me", "ann", "bob")
DATASETS = ("train", "test")
SPACES = {"unit": 6, "free": 4}
MEDIA = ("image", "video", "text", "audio")
SHAPES = ("bounding_box", "polygon", "point", "mask")
METADATA: tuple[Any, ...] = (
    {"a": 1},
    {"a": 2, "b": "x"},
    {"b": "x", "list": [1, 2, {"k": 1, "j": 2}]},
    {"n": {"m": [4, 5]}},
)


class RandomWrites:
    """An app that grows and changes.

    Args:
        world: Where it lives.
        seed: Of everything random.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.world = world
        self.inputs: list[str] = []
        # Every other app has datasets, drawn apart, so that the apps of earlier findings stay what they were.
        self.groups = random.Random(seed) if seed // 60 % 2 else None
        if self.groups is not None:
            self.world.store.write(lambda tx: [tx.add_dataset(world.app.row, name, b"") for name in DATASETS])

    def add(self) -> None:
        """An input with some annotations."""
        name = f"input-{self.random.randrange(10**9)}"
        message = Input(id=name)
        medium = self.random.choice((*MEDIA, None))
        if medium:
            getattr(message.data, medium).SetInParent()
        status = self.random.choice((30000, 30000, 30001))

        def op(tx: Transaction) -> None:
            row, anchor = tx.reserve_inputs(1)[0], tx.reserve_annotations(1)[0]
            new = NewInput(row, name, status, anchor, message.SerializeToString(), tx.now_us, "", "", ())
            tx.add_inputs(self.world.app.row, [new])
            self._annotate(tx, row, name, anchor, anchor, level=True)
            self._vectors(tx, anchor, 0.9)

        self.world.store.write(op)
        self.inputs.append(name)
        self.group(name)
        for _ in range(self.random.choice((0, 0, 0, 1, 3))):
            self.annotate(name)

    def group(self, name: str) -> None:
        """Puts an input into a dataset, or takes it out."""
        draw = self.groups
        if draw is None or draw.random() < 0.5:
            return

        def op(tx: Transaction) -> None:
            found, dataset = tx.input(self.world.app.row, name), tx.dataset(self.world.app.row, draw.choice(DATASETS))
            assert found is not None
            assert dataset is not None
            if not tx.add_members(dataset.row, [found.row]):
                tx.remove_members(dataset.row, [found.row])

        self.world.store.write(op)

    def annotate(self, name: str) -> None:
        """Another annotation of an input, with a vector of its own or not."""

        def op(tx: Transaction) -> None:
            found = tx.input(self.world.app.row, name)
            assert found is not None
            row = tx.reserve_annotations(1)[0]
            own = self.random.random() < 0.5
            self._annotate(tx, found.row, name, row, row if own else found.anchor, level=False)
            if own:
                self._vectors(tx, row, 1.0)

        self.world.store.write(op)

    def _annotate(self, tx: Transaction, input_row: int, name: str, row: int, anchor: int, *, level: bool) -> None:
        message = Annotation(id=f"a{row % 1000}", input_id=name, input_level=level)
        labels = self._say(message, level=level)
        record = AnnotationRecord(
            row=row,
            id=message.id,
            input=input_row,
            anchor=anchor,
            message=message.SerializeToString(),
            status=message.status.code,
            trusted=message.trusted,
            input_level=level,
            blank=False,
            user_id=message.user_id,
            model_version_id=message.model_version_id,
            workflow_version_id="",
            task_id="",
            created_us=tx.now_us,
            modified_us=tx.now_us,
        )
        concepts = tx.ensure_concepts(self.world.app.row, dict.fromkeys(labels, ""))
        tx.add_annotations(
            self.world.app.row, [record], [(row, concepts[name].row, value) for name, value in labels.items()]
        )

    def _say(self, message: Annotation, *, level: bool) -> dict[str, float]:
        """Fills an annotation with something; its labels."""
        pick = self.random
        message.user_id = pick.choice(USERS)
        message.model_version_id = pick.choice(("", "", "model-1"))
        message.trusted = pick.random() < 0.7
        message.status.code = pick.choice((24150, 24150, 24151))  # type: ignore[assignment]
        if pick.random() < 0.4:
            message.data.metadata.update(pick.choice(METADATA))
        if pick.random() < 0.2:
            message.annotation_info.update(pick.choice(METADATA))
        if pick.random() < 0.3:
            point = message.data.geo.geo_point
            point.latitude, point.longitude = pick.uniform(-80, 80), pick.uniform(-170, 170)
        if not level and pick.random() < 0.6:
            holder = message.data.frames.add().data if pick.random() < 0.3 else message.data
            getattr(holder.regions.add().region_info, pick.choice(SHAPES)).SetInParent()
        if not level and pick.random() < 0.1:
            message.data.time_segments.add()
        return {
            name: float(pick.random() < 0.8) for name in CONCEPTS if pick.random() < (0.02 if name == "rare" else 0.25)
        }

    def _vectors(self, tx: Transaction, row: int, chance: float) -> None:
        for name, dim in SPACES.items():
            if self.random.random() > chance:
                continue
            vector = self.numbers.standard_normal(dim).astype(np.float32)
            if self.random.random() < 0.1:
                vector = np.round(vector) + np.float32(0.25)  # so that some are alike
            if name == "unit":
                vector /= np.linalg.norm(vector)
            space = tx.ensure_space(self.world.app.row, name, name, "client", dim)
            tx.put_vectors(self.world.app.row, Vectors(space.row, np.array([row], np.int64), vector[None]))

    def change(self) -> None:
        """Adds, relabels, moves or deletes something."""
        act = self.random.random()
        name = self.random.choice(self.inputs)
        if act < 0.3 or len(self.inputs) < 10:
            self.add()
        elif act < 0.5:
            self.annotate(name)
        elif act < 0.7:
            self._rewrite(name)
            self.group(name)
        elif act < 0.8:
            self._settle(name)
        else:
            self.inputs.remove(name)
            self._delete(name)

    def _rewrite(self, name: str) -> None:
        def op(tx: Transaction) -> None:
            found = tx.input(self.world.app.row, name)
            assert found is not None
            record = self.random.choice(tx.annotations_of_inputs([found.row]))
            message = Annotation(id=record.id, input_id=name, input_level=record.input_level)
            labels = self._say(message, level=record.input_level)
            concepts = tx.ensure_concepts(self.world.app.row, dict.fromkeys(labels, ""))
            changed = record._replace(
                message=message.SerializeToString(),
                status=message.status.code,
                trusted=message.trusted,
                user_id=message.user_id,
                model_version_id=message.model_version_id,
                modified_us=tx.now_us,
            )
            tx.update_annotation(changed, [(concepts[one].row, value) for one, value in labels.items()])
            if record.anchor == record.row:
                self._vectors(tx, record.row, 0.5)

        self.world.store.write(op)

    def _settle(self, name: str) -> None:
        def op(tx: Transaction) -> None:
            found = tx.input(self.world.app.row, name)
            assert found is not None
            tx.update_input(found.row, found.message, status=self.random.choice((30000, 30100)))

        self.world.store.write(op)

    def _delete(self, name: str) -> None:
        def op(tx: Transaction) -> None:
            found = tx.input(self.world.app.row, name)
            assert found is not None
            tx.delete_inputs(self.world.app.row, [found.row])

        self.world.store.write(op)
