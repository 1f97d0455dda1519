"""Writes that are not inputs and annotations: concepts and their names, clicks, datasets, models, keys, whole apps."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crash.model import Ledger, Op, Vector
from crash.world import APP, BULK, NAMED, WRITERS, search_for
from postil.v1.app_service_pb2 import DeleteAppRequest
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.concept_pb2 import Concept
from postil.v1.concept_service_pb2 import GetConceptRequest, PatchConceptsRequest, PostConceptsRequest
from postil.v1.dataset_pb2 import Dataset
from postil.v1.dataset_service_pb2 import DeleteDatasetsRequest, PostDatasetsRequest
from postil.v1.feedback_service_pb2 import DeleteFeedbackRequest, ListFeedbackRequest, PostSearchFeedbackRequest
from postil.v1.input_pb2 import EventType, FeedbackInfo, Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.key_pb2 import Key
from postil.v1.key_service_pb2 import DeleteKeyRequest, ListKeysRequest, PatchKeysRequest, PostKeysRequest
from postil.v1.model_pb2 import Model
from postil.v1.model_service_pb2 import DeleteModelsRequest, PostModelsRequest

if TYPE_CHECKING:
    from crash.clients import Connection

Maker = Callable[[], Op | None]
_BULK = 128  # inputs in one call


class Shelves:
    """Draws such writes for one writer.

    Args:
        connection: For what has to be looked up first.
        ledger: The writer's keys.
        rng: Draws.
        vector: Draws a vector.
    """

    def __init__(
        self, connection: Connection, ledger: Ledger, rng: random.Random, vector: Callable[[], Vector]
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._rng = rng
        self._vector = vector

    def makers(self, *, everything: bool) -> list[tuple[Maker, int]]:
        """What can be drawn, with weights; `everything`: also what a short recording has no room for."""
        few: list[tuple[Maker, int]] = [(self._concept, 1), (self._click, 1), (self._unclick, 1)]
        more: list[tuple[Maker, int]] = [
            (self._rename, 1),
            (self._shelve, 2),
            (self._unshelve, 1),
            (self._key, 1),
            (self._rekey, 1),
            (self._revoke, 1),
            (self._fill, 2),
            (self._drop, 1),
        ]
        return few + more * everything

    def _mark(self) -> int:
        return self._rng.getrandbits(40)

    def _known(self, *kinds: str) -> str | None:
        found = [key for key in self._ledger.values if key.startswith(kinds)]
        return self._rng.choice(found) if found else None

    @property
    def _next(self) -> str:
        return f"{self._ledger.name}-{self._ledger.number}"

    def _concept(self) -> Op:
        known, mark = self._known("concept:"), self._mark()
        if known and self._rng.random() < 0.4:
            concept = Concept(id=known.removeprefix("concept:"), name=f"name {mark}")
            patch = PatchConceptsRequest(user_app_id=APP, concepts=[concept], action="overwrite")
            return Op("PatchConcepts", patch, {known: mark}, {}, 1)
        concept = Concept(id=f"own-{self._next}", name=f"name {mark}")
        request = PostConceptsRequest(user_app_id=APP, concepts=[concept])
        return Op("PostConcepts", request, {f"concept:{concept.id}": mark}, {}, 1)

    def _rename(self) -> Op | None:
        """Of a concept that labels of all writers have; each writer renames others."""
        mine = int(self._ledger.name[1:])
        if not any(key.endswith("-kept") for key in self._ledger.values):
            return None
        concept_id, mark = f"c{mine + WRITERS * self._rng.randrange(NAMED // WRITERS)}", self._mark()
        if f"concept:{concept_id}" not in self._ledger.values and not self._there(concept_id):
            return None
        concept = Concept(id=concept_id, name=f"name {mark}")
        patch = PatchConceptsRequest(user_app_id=APP, concepts=[concept], action="overwrite")
        return Op("PatchConcepts", patch, {f"concept:{concept_id}": mark}, {}, 1)

    def _there(self, concept_id: str) -> bool:
        answer = self._connection.call("GetConcept", GetConceptRequest(user_app_id=APP, concept_id=concept_id))
        return bool(answer.concept.id)

    def _shelve(self) -> Op:
        mark, name = self._mark(), self._next
        if self._rng.random() < 0.5:
            datasets = PostDatasetsRequest(user_app_id=APP, datasets=[Dataset(id=name, description=str(mark))])
            return Op("PostDatasets", datasets, {f"dataset:{name}": mark}, {}, 1)
        models = PostModelsRequest(user_app_id=APP, models=[Model(id=name, name=str(mark))])
        return Op("PostModels", models, {f"model:{name}": mark}, {}, 1)

    def _unshelve(self) -> Op | None:
        key = self._known("dataset:", "model:")
        if key is None:
            return None
        kind, _, name = key.partition(":")
        if kind == "dataset":
            return Op("DeleteDatasets", DeleteDatasetsRequest(user_app_id=APP, dataset_ids=[name]), {key: None}, {}, 1)
        return Op("DeleteModels", DeleteModelsRequest(user_app_id=APP, ids=[name]), {key: None}, {}, 1)

    # keys: the server names them, so they are told apart by what they say they are for

    def _key(self) -> Op:
        mark, name = self._mark(), self._next
        key = Key(description=f"{name} {mark}", scopes=["Inputs:Get"])
        return Op("PostKeys", PostKeysRequest(user_app_id=APP, keys=[key]), {f"key:{name}": mark}, {}, 1)

    def _rekey(self) -> Op | None:
        key = self._known("key:")
        if key is None:
            return None
        name, mark = key.removeprefix("key:"), self._mark()
        change = Key(id=key_ids(self._connection)[name][0], description=f"{name} {mark}")
        request = PatchKeysRequest(user_app_id=APP, keys=[change], action="overwrite")
        return Op("PatchKeys", request, {key: mark}, {}, 1)

    def _revoke(self) -> Op | None:
        key = self._known("key:")
        if key is None:
            return None
        key_id, _ = key_ids(self._connection)[key.removeprefix("key:")]
        return Op("DeleteKey", DeleteKeyRequest(user_app_id=APP, key_id=key_id), {key: None}, {}, 1)

    # apps that grow, and go with all that is in them while the next of the same name grows already

    def _fill(self) -> Op:
        name = f"{BULK}-{self._ledger.name}-{self._rng.randrange(2)}"
        there = self._ledger.values.get(f"app:{name}", 0)
        request = PostInputsRequest(user_app_id=UserAppIDSet(user_id="me", app_id=name))
        for number in range(_BULK):
            item = request.inputs.add(id=f"b{there + number}")
            item.data.embeddings.add(vector=self._vector())
            item.data.concepts.add(id=f"in-{name}", value=1)
        return Op("PostInputs", request, {f"app:{name}": there + _BULK}, {}, _BULK)

    def _drop(self) -> Op | None:
        key = self._known("app:")
        if key is None:
            return None
        place = UserAppIDSet(user_id="me", app_id=key.removeprefix("app:"))
        return Op("DeleteApp", DeleteAppRequest(user_app_id=place), {key: None}, {}, 1)

    # clicks

    def _click(self) -> Op | None:
        kept = [key for key in self._ledger.vectors if key.endswith("-kept")]
        if not kept:
            return None
        key = self._rng.choice(kept)
        found = self._connection.call("PostInputsSearches", search_for(self._ledger.vectors[key]))
        info = FeedbackInfo(event_type=EventType.search_click, search_id=found.id)
        given = Input(id=key.removeprefix("input:"), feedback_info=info)
        request = PostSearchFeedbackRequest(user_app_id=APP, input=given)
        return Op("PostSearchFeedback", request, {f"click:{found.id}": given.id}, {}, 1)

    def _unclick(self) -> Op | None:
        clicks = [key for key in self._ledger.values if key.startswith("click:")]
        if len(clicks) < 3:
            return None
        key = self._rng.choice(clicks)
        ids = click_ids(self._connection, key.removeprefix("click:"))
        request = DeleteFeedbackRequest(user_app_id=APP, ids=ids)
        return Op("DeleteFeedback", request, {key: None}, {}, 1)


def click_ids(connection: Connection, search_id: str) -> list[str]:
    """Ids of what was said about a search."""
    answer = connection.call("ListFeedback", ListFeedbackRequest(user_app_id=APP, search_id=search_id))
    return [event.id for event in answer.feedback]


def key_ids(connection: Connection) -> dict[str, tuple[str, Any]]:
    """Name -> (id, mark) of every key."""
    found: dict[str, tuple[str, Any]] = {}
    page = 1
    while True:
        part = connection.call("ListKeys", ListKeysRequest(user_app_id=APP, page=page, per_page=1000)).keys
        for key in part:
            name, _, mark = key.description.partition(" ")
            found[name] = (key.id, int(mark) if mark.isdecimal() else mark)
        if len(part) < 1000:
            return found
        page += 1
