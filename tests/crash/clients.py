"""Those who write and search while servers die: threads, each with its own channel."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np

from crash.model import Item, Ledger, Log, Op, Vector
from crash.shelves import Maker, Shelves
from crash.world import APP, DIM, concept_of, search_for, video
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import (
    DeleteAnnotationsRequest,
    PatchAnnotationsRequest,
    PostAnnotationsRequest,
)
from postil.v1.input_service_pb2 import DeleteInputsRequest, PatchInputsRequest, PostInputsRequest
from postil.v1.status_code_pb2 import StatusCode
from support.doors import METHODS

_OPTIONS = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))


class Connection:
    """A channel and calls by name. Raises grpc.RpcError when the server is gone."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)

    def call(self, rpc: str, request: Any, timeout: float = 60) -> Any:
        method = METHODS[rpc]
        invoke = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return invoke(request, timeout=timeout, metadata=(("authorization", "Key any"),))

    def close(self) -> None:
        self._channel.close()


class Writer(threading.Thread):
    """Sends writes until the server is gone or it is told to stop.

    Args:
        address: The server's, host:port.
        ledger: Its keys.
        log: Takes intents and acknowledgements.
        rng: Draws the writes.
        batch: Most inputs in one write.
        everything: Also datasets, models, keys, renames and whole apps.
    """

    def __init__(
        self, address: str, ledger: Ledger, log: Log, rng: random.Random, batch: int = 96, *, everything: bool = True
    ) -> None:
        super().__init__(name=ledger.name, daemon=True)
        self._connection = Connection(address)
        self._ledger = ledger
        self._log = log
        self._rng = rng
        self._batch = batch
        self._others = Shelves(self._connection, ledger, rng, self._vector).makers(everything=everything)
        self._halt = threading.Event()
        self.problem = ""

    def stop(self) -> None:
        self._halt.set()

    def run(self) -> None:
        try:
            while not self._halt.is_set():
                op = self._next()
                if op is not None and not self._send(op):
                    return
        except grpc.RpcError:
            return  # a search before a click met a server that was gone
        finally:
            self._connection.close()

    def _send(self, op: Op) -> bool:
        self._ledger.begin(op)
        self._log.intent(self._ledger, op)
        try:
            answer = self._connection.call(op.rpc, op.request)
        except grpc.RpcError as error:
            # Its fate is open: the check after the restart finds out.
            if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
                self.problem = f"{op.rpc} was answered with {error}"
            return False
        if answer.status.code != StatusCode.SUCCESS:
            self.problem = f"{op.rpc} {sorted(op.after)} was refused: {answer.status}"
            return False
        self._log.acknowledged(self._ledger, op)
        self._ledger.settle(done=True)
        return True

    def _next(self) -> Op | None:
        makers: Sequence[tuple[Maker, int]] = (
            (self._post, 6),
            (self._post_videos, 2),
            (self._patch, 4),
            (self._annotate, 5),
            (self._patch_notes, 3),
            (self._delete, 2),
            (self._delete_notes, 2),
            *self._others,
        )
        (make,) = self._rng.choices([maker for maker, _ in makers], [weight for _, weight in makers])
        return make()

    # what they write

    def _mark(self) -> int:
        return self._rng.getrandbits(40)

    def _vector(self) -> Vector:
        numbers = np.frombuffer(self._rng.randbytes(DIM), np.uint8).astype(np.float32) - 127.5
        vector: Vector = numbers / np.linalg.norm(numbers).astype(np.float32)
        return vector

    def _some(self, most: int) -> list[str]:
        keys = [key for key in self._ledger.values if key.startswith("input:") and not key.endswith("-kept")]
        return self._rng.sample(keys, min(len(keys), self._rng.randint(1, most)))

    def _post(self) -> Op:
        return self._posted(min(self._batch, self._rng.choice((1, 2, 16, 48, 96))), videos=False)

    def _post_videos(self) -> Op:
        return self._posted(self._rng.choice((1, 1, 3)), videos=True)

    def _posted(self, count: int, *, videos: bool) -> Op:
        after: dict[str, Any] = {}
        vectors: dict[str, Vector] = {}
        request = PostInputsRequest(user_app_id=APP)
        first = not any(key.endswith("-kept") for key in self._ledger.values)
        for at in range(count):
            name = f"{self._ledger.name}-{self._ledger.number}-{at}" + ("-kept" if first else "")
            mark = self._mark()
            item = request.inputs.add(id=name)
            blob = ""
            if videos:
                # Now and then what another writer posts as well: the same file, put twice at once.
                content = video(self._rng.choice((mark, self._rng.randrange(40))), self._rng.randint(1, 60_000))
                item.data.video.base64 = content
                blob = hashlib.sha256(content).hexdigest()
            vectors[f"input:{name}"] = self._vector()
            item.data.embeddings.add(vector=vectors[f"input:{name}"])
            _say(item.data, mark)
            after[f"input:{name}"] = Item(mark, blob, ())
        return Op("PostInputs", request, after, vectors, count)

    def _patch(self) -> Op | None:
        request = PatchInputsRequest(user_app_id=APP, action="overwrite")
        after, vectors = {}, {}
        for key in self._some(40):
            mark = self._mark()
            item = request.inputs.add(id=key.removeprefix("input:"))
            _say(item.data, mark)
            if self._rng.random() < 0.5:
                vectors[key] = self._vector()
                item.data.embeddings.add(vector=vectors[key])
            after[key] = self._ledger.values[key]._replace(mark=mark)
        return Op("PatchInputs", request, after, vectors, len(after)) if after else None

    def _delete(self) -> Op | None:
        keys = self._some(16)
        request = DeleteInputsRequest(user_app_id=APP, ids=[key.removeprefix("input:") for key in keys])
        return Op("DeleteInputs", request, dict.fromkeys(keys), {}, len(keys)) if keys else None

    def _annotate(self) -> Op | None:
        request = PostAnnotationsRequest(user_app_id=APP)
        after = {}
        for at, key in enumerate(self._some(40)):
            mark = self._mark()
            name = f"note-{self._ledger.number}-{at}"
            note = request.annotations.add(id=name, input_id=key.removeprefix("input:"))
            _say(note.data, mark)
            item = self._ledger.values[key]
            after[key] = item._replace(notes=tuple(sorted((*item.notes, (name, mark)))))
        return Op("PostAnnotations", request, after, {}, len(after)) if after else None

    def _noted(self, most: int) -> list[tuple[str, str]]:
        found = [(key, self._ledger.values[key].notes) for key in self._some(60)]
        return [(key, self._rng.choice(notes)[0]) for key, notes in found if notes][:most]

    def _patch_notes(self) -> Op | None:
        request = PatchAnnotationsRequest(user_app_id=APP, action="overwrite")
        after = {}
        for key, name in self._noted(20):
            mark = self._mark()
            note = Annotation(id=name, input_id=key.removeprefix("input:"))
            _say(note.data, mark)
            request.annotations.append(note)
            item = self._ledger.values[key]
            notes = tuple((one, mark if one == name else old) for one, old in item.notes)
            after[key] = item._replace(notes=notes)
        return Op("PatchAnnotations", request, after, {}, len(after)) if after else None

    def _delete_notes(self) -> Op | None:
        request = DeleteAnnotationsRequest(user_app_id=APP)
        after = {}
        for key, name in self._noted(10):
            request.ids.append(name)
            request.input_ids.append(key.removeprefix("input:"))
            item = self._ledger.values[key]
            after[key] = item._replace(notes=tuple(note for note in item.notes if note[0] != name))
        return Op("DeleteAnnotations", request, after, {}, len(after)) if after else None


def _say(data: Any, mark: int) -> None:
    """The same mark three times, in places that are stored apart."""
    data.concepts.add(id=concept_of(mark), value=1)
    data.metadata.update({"mark": str(mark), "again": str(mark)})


class Searcher(threading.Thread):
    """Searches for what was acknowledged, until the server is gone: it must be the first hit."""

    def __init__(self, address: str, ledgers: Sequence[Ledger], rng: random.Random) -> None:
        super().__init__(name="searcher", daemon=True)
        self._connection = Connection(address)
        self._ledgers = ledgers
        self._rng = rng
        self._halt = threading.Event()
        self.searches = 0
        self.problem = ""

    def stop(self) -> None:
        self._halt.set()

    def run(self) -> None:
        try:
            while not self._halt.is_set() and not self.problem:
                self._search()
        except grpc.RpcError:
            return
        finally:
            self._connection.close()

    def _search(self) -> None:
        ledger = self._rng.choice(self._ledgers)
        with ledger.lock:
            keys = list(ledger.vectors)
        if not keys:
            time.sleep(0.01)
            return
        key = self._rng.choice(keys[-200:])
        vector = ledger.steady(key)
        if vector is None:
            return
        answer = self._connection.call("PostInputsSearches", search_for(vector))
        self.searches += 1
        found = [hit.input.id for hit in answer.hits]
        if found != [key.removeprefix("input:")] and ledger.steady(key) is vector:
            self.problem = f"a search for {key} found {found} ({answer.status.description})"
