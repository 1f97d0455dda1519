"""Random histories of calls beside a small model of what they mean, with restarts and kills in between.

The model is a few dictionaries. Whatever a call answers must be what the model says, at once and after each restart.
"""

from __future__ import annotations

import itertools
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from postil.v1 import dataset_service_pb2 as datasets
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import (
    DeleteAnnotationsRequest,
    ListAnnotationsRequest,
    PatchAnnotationsRequest,
    PostAnnotationsRequest,
)
from postil.v1.common_pb2 import Pagination, UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.data_pb2 import Data
from postil.v1.dataset_pb2 import Dataset, DatasetInput
from postil.v1.input_pb2 import Input
from postil.v1.input_service_pb2 import (
    DeleteInputsRequest,
    GetInputCountRequest,
    GetInputRequest,
    ListInputsRequest,
    PatchInputsRequest,
    PostInputsRequest,
)
from postil.v1.search_pb2 import Filter, Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.server import OWN, VENDOR, Server

STEPS = 40
_PART = 25  # histories between looks at the clock
INPUTS = [f"input {number}" for number in range(8)]
ANNOTATIONS = ["first", "second"]
CONCEPTS = ["cat", "dog", "tree"]
DATASETS = ["train", "test"]
_DRAWN = np.random.default_rng(5).standard_normal((6, 4))
VECTORS = [tuple(float(x) for x in row / np.linalg.norm(row)) for row in _DRAWN]  # no two equally far from a third

labels = st.dictionaries(st.sampled_from(CONCEPTS), st.sampled_from([0.0, 1.0]), max_size=3)
numbers = st.one_of(st.none(), st.integers(0, 2))
some_inputs = st.lists(st.sampled_from(INPUTS), min_size=1, max_size=4)


@dataclass
class Known:
    """An input, as the model has it."""

    born: int
    vector: tuple[float, ...]
    labels: dict[str, float]
    number: int | None
    annotations: dict[str, dict[str, float]] = field(default_factory=dict)

    def labelled(self, concept: str, value: float) -> bool:
        return any(said.get(concept) == value for said in (self.labels, *self.annotations.values()))


def concepts(said: dict[str, float]) -> list[Concept]:
    return [Concept(id=name, value=value) for name, value in said.items()]


class History(RuleBasedStateMachine):
    """One app's life. `server` and `seen`, what was done so far, are set by whoever runs it."""

    server: ClassVar[Server]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.seen["histories"] += 1
        self.app = UserAppIDSet(user_id="me", app_id=f"history-{uuid.uuid4().hex[:16]}")
        self.inputs: dict[str, Known] = {}
        self.datasets: dict[str, set[str]] = {}
        self.born = 0

    def call(self, rpc: str, request: Any) -> Any:
        request.user_app_id.CopyFrom(self.app)
        self.seen["calls"] += 1
        return self.server.call(VENDOR if self.born % 2 else OWN, rpc, request, timeout=60)

    # writing

    @initialize()
    def begin(self) -> None:
        made = self.call("PostDatasets", datasets.PostDatasetsRequest(datasets=[Dataset(id=name) for name in DATASETS]))
        assert made.status.code == StatusCode.SUCCESS, made.status
        self.datasets = {name: set() for name in DATASETS}

    @rule(names=some_inputs, at=st.integers(0, 5), said=labels, number=numbers, into=st.sets(st.sampled_from(DATASETS)))
    def post_inputs(
        self, names: list[str], at: int, said: dict[str, float], number: int | None, into: set[str]
    ) -> None:
        items, expected = [], []
        for offset, name in enumerate(names):
            vector = VECTORS[(at + offset) % len(VECTORS)]
            item = Input(id=name, data=Data(concepts=concepts(said)), dataset_ids=sorted(into))
            item.data.embeddings.add(vector=vector, space="plane")
            if number is not None:
                item.data.metadata.update({"number": number})
            items.append(item)
            if name in self.inputs:
                expected.append(StatusCode.INPUT_DUPLICATE)
                continue
            expected.append(StatusCode.INPUT_SUCCESS)
            self.born += 1
            self.inputs[name] = Known(self.born, vector, dict(said), number)
            for dataset in into:
                self.datasets[dataset].add(name)
        answer = self.call("PostInputs", PostInputsRequest(inputs=items))
        assert [one.status.code for one in answer.inputs] == expected

    @rule(name=st.sampled_from(INPUTS), said=labels.filter(bool))
    def merge_into_input(self, name: str, said: dict[str, float]) -> None:
        change = Input(id=name, data=Data(concepts=concepts(said)))
        answer = self.call("PatchInputs", PatchInputsRequest(inputs=[change], action="merge"))
        if name in self.inputs:
            assert answer.status.code == StatusCode.SUCCESS, answer.status
            self.inputs[name].labels.update(said)
        else:
            assert answer.status.code != StatusCode.SUCCESS

    @rule(names=some_inputs)
    def delete_inputs(self, names: list[str]) -> None:
        answer = self.call("DeleteInputs", DeleteInputsRequest(ids=names))
        assert answer.status.code == StatusCode.SUCCESS, answer.status
        for name in names:
            self.inputs.pop(name, None)
            for members in self.datasets.values():
                members.discard(name)

    @rule(name=st.sampled_from(INPUTS), annotation=st.sampled_from(ANNOTATIONS), said=labels.filter(bool))
    def annotate(self, name: str, annotation: str, said: dict[str, float]) -> None:
        posted = Annotation(id=annotation, input_id=name, data=Data(concepts=concepts(said)))
        answer = self.call("PostAnnotations", PostAnnotationsRequest(annotations=[posted]))
        known = self.inputs.get(name)
        if known is not None and annotation not in known.annotations:
            assert answer.status.code == StatusCode.SUCCESS, answer.status
            known.annotations[annotation] = dict(said)
        else:
            assert answer.status.code != StatusCode.SUCCESS

    @rule(name=st.sampled_from(INPUTS), annotation=st.sampled_from(ANNOTATIONS), said=labels.filter(bool))
    def overwrite_annotation(self, name: str, annotation: str, said: dict[str, float]) -> None:
        change = Annotation(id=annotation, input_id=name, data=Data(concepts=concepts(said)))
        answer = self.call("PatchAnnotations", PatchAnnotationsRequest(annotations=[change], action="overwrite"))
        known = self.inputs.get(name)
        if known is not None and annotation in known.annotations:
            assert answer.status.code == StatusCode.SUCCESS, answer.status
            known.annotations[annotation] = dict(said)
        else:
            assert answer.status.code != StatusCode.SUCCESS

    @precondition(lambda self: any(known.annotations for known in self.inputs.values()))
    @rule(data=st.data())
    def delete_annotation(self, data: st.DataObject) -> None:
        there = [(name, one) for name, known in sorted(self.inputs.items()) for one in sorted(known.annotations)]
        name, annotation = data.draw(st.sampled_from(there))
        answer = self.call("DeleteAnnotations", DeleteAnnotationsRequest(input_ids=[name], ids=[annotation]))
        assert answer.status.code == StatusCode.SUCCESS, answer.status
        del self.inputs[name].annotations[annotation]

    @rule(dataset=st.sampled_from(DATASETS), names=st.lists(st.sampled_from(INPUTS), min_size=1, unique=True))
    def add_to_dataset(self, dataset: str, names: list[str]) -> None:
        items = [DatasetInput(input=Input(id=name)) for name in names]
        answer = self.call(
            "PostDatasetInputs", datasets.PostDatasetInputsRequest(dataset_id=dataset, dataset_inputs=items)
        )
        for name, item in zip(names, answer.dataset_inputs, strict=True):
            fits = name in self.inputs and name not in self.datasets[dataset]
            assert (item.input.status.code == StatusCode.DATASET_INPUT_SUCCESS) == fits
        self.datasets[dataset].update(name for name in names if name in self.inputs)

    # coming back

    @rule(dice=st.integers(0, 5), kill=st.booleans())
    def come_back(self, dice: int, kill: bool) -> None:
        if dice:  # starts take long beside everything else
            return
        self.seen["kills" if kill else "restarts"] += 1
        if kill:
            self.server.kill9()
        else:
            self.server.restart()

    # reading

    @rule(
        concept=st.sampled_from(CONCEPTS), value=st.sampled_from([0.0, 1.0]), dataset=st.sampled_from([None, *DATASETS])
    )
    def find_labelled(self, concept: str, value: float, dataset: str | None) -> None:
        filters = [Filter(annotation=Annotation(data=Data(concepts=[Concept(id=concept, value=value)])))]
        expected = [name for name, known in self._by_age() if known.labelled(concept, value)]
        if dataset is not None:
            filters.append(Filter(input=Input(dataset_ids=[dataset])))
            expected = [name for name in expected if name in self.datasets[dataset]]
        assert self._found(Query(filters=filters)) == expected

    @rule(at=st.integers(0, 5), without=st.sampled_from([None, *CONCEPTS]), number=numbers)
    def find_near(self, at: int, without: str | None, number: int | None) -> None:
        query = Query(ranks=[Rank()])
        query.ranks[0].annotation.data.embeddings.add(vector=VECTORS[at], space="plane")
        allowed = self._by_age()
        if without is not None:
            query.filters.add(negate=True).annotation.data.concepts.add(id=without, value=1)
            allowed = [(name, known) for name, known in allowed if not known.labelled(without, 1.0)]
        if number is not None:
            query.filters.add().input.data.metadata.update({"number": number})
            allowed = [(name, known) for name, known in allowed if known.number == number]
        near = sorted(allowed, key=lambda one: -round(float(np.dot(one[1].vector, VECTORS[at])), 6))
        if not self.born:  # the app has no vectors yet
            return
        assert self._found(query) == [name for name, _ in near]

    @invariant()
    def counts_agree(self) -> None:
        answer = self.call("GetInputCount", GetInputCountRequest())
        assert answer.counts.processed == len(self.inputs)

    @rule(name=st.sampled_from(INPUTS))
    def get(self, name: str) -> None:
        answer = self.call("GetInput", GetInputRequest(input_id=name))
        known = self.inputs.get(name)
        if known is None:
            assert answer.status.code == StatusCode.CONN_DOES_NOT_EXIST
        else:
            assert {one.id: one.value for one in answer.input.data.concepts} == known.labels

    def teardown(self) -> None:
        """Whatever happened, everything is there as the model has it."""
        listed = self.call("ListInputs", ListInputsRequest(per_page=100))
        assert {one.id for one in listed.inputs} == self.inputs.keys()
        said: dict[tuple[str, str], dict[str, float]] = {}
        for one in self.call("ListAnnotations", ListAnnotationsRequest(per_page=1000)).annotations:
            if not one.input_level:
                said[one.input_id, one.id] = {concept.id: concept.value for concept in one.data.concepts}
        expected = {
            (name, annotation): labels
            for name, known in self.inputs.items()
            for annotation, labels in known.annotations.items()
        }
        assert said == expected
        for dataset, members in self.datasets.items():
            answer = self.call("ListDatasetInputs", datasets.ListDatasetInputsRequest(dataset_id=dataset, per_page=100))
            assert {one.input.id for one in answer.dataset_inputs} == members

    def _by_age(self) -> list[tuple[str, Known]]:
        return sorted(self.inputs.items(), key=lambda one: one[1].born)

    def _found(self, query: Query) -> list[str]:
        request = PostInputsSearchesRequest(searches=[Search(query=query)], pagination=Pagination(per_page=100))
        answer = self.call("PostInputsSearches", request)
        assert answer.status.code == StatusCode.SUCCESS, answer.status
        return [hit.input.id for hit in answer.hits]


def live(
    running: Server,
    count: int,
    until: float = float("inf"),
    *,
    same: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Counter[str], str]:
    """Histories on a server, in parts, each with a seed of its own.

    Args:
        running: Where they happen; restarted and killed.
        count: How many at most. A part that finds something goes on until it is as short as can be.
        until: When to begin no further part, by the monotonic clock.
        same: The same histories each time.
        tell: Is told how far it is.

    Returns:
        (histories, calls, restarts and kills; what the model says otherwise, with the calls that lead there, or "").
    """

    class Bound(History):
        server = running
        seen: ClassVar[Counter[str]] = Counter()

    for part in itertools.count():
        left = count - part * _PART
        if left <= 0 or time.monotonic() >= until:
            return Bound.seen, ""
        budget: Any = settings(
            max_examples=min(left, _PART),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=same,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        try:
            run_state_machine_as_test(Bound, settings=budget)
        except Exception:  # noqa: BLE001 - whatever went wrong is the finding
            return Bound.seen, traceback.format_exc()
        tell(", ".join(f"{number:,} {what}" for what, number in Bound.seen.items()))
    raise AssertionError
