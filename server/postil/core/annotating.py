"""PostAnnotations: from drafts to rows, one status per item, nothing kept of an item that fails."""

from __future__ import annotations

from collections.abc import Sequence

from postil.core import creating, ids, records, statuses, wire
from postil.core.annotation_drafts import (
    AnnotationDraft,
    annotation_draft,
    author,
    body,
    record,
    refuse_impostor,
    refused,
)
from postil.core.call import Call
from postil.core.crops import Crops, Wanted
from postil.core.labels import KnownNames, Names, StaleError, label_values
from postil.core.masks import Masks
from postil.core.regions import region_of
from postil.core.spaces import Spaces
from postil.embed.base import Embedders
from postil.errors import Failure
from postil.store.base import InputRecord, Store, Transaction
from postil.v1.annotation_pb2 import Annotation
from postil.v1.annotation_service_pb2 import MultiAnnotationResponse, PostAnnotationsRequest
from postil.v1.data_pb2 import BoundingBox, RegionInfo
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status

MAX_ITEMS = 128
_RETRIES = 5
STATUS = wire.key(MultiAnnotationResponse.DESCRIPTOR, "status")
ANNOTATIONS = wire.key(MultiAnnotationResponse.DESCRIPTOR, "annotations")


def check_count(count: int) -> None:
    """Refuses an empty or over-long batch."""
    if not 1 <= count <= MAX_ITEMS:
        raise Failure(
            StatusCode.ANNOTATION_INVALID_ARGUMENT,
            f"annotations holds {count} items; send 1 to {MAX_ITEMS} in one call",
        )


class Annotating:
    """Adds annotations."""

    def __init__(self, store: Store, embedders: Embedders, crops: Crops, masks: Masks) -> None:
        self._store = store
        self._embedders = embedders
        self._crops = crops
        self._masks = masks
        self._known = KnownNames()

    def post(self, call: Call, request: PostAnnotationsRequest) -> bytes:
        """1 to 128 annotations; 24155 for another number, else a status per item."""
        check_count(len(request.annotations))
        drafts = [annotation_draft(item, position) for position, item in enumerate(request.annotations)]
        if any(made.region is not None for made in drafts):
            self.find_inputs(call, drafts)  # else the op that writes is soon enough
        self.check_embedders(call, drafts)
        self._find_regions(drafts)
        self.embed_regions(call, drafts)
        return self._write(call, drafts)

    def find_inputs(self, call: Call, drafts: Sequence[AnnotationDraft]) -> None:
        """Every annotation is about an input that is there and processed."""
        wanted = {made.message.input_id for made in drafts if made.failure is None}
        found = self._store.read().inputs(call.app.row, list(wanted))
        for made in drafts:
            _take_input(made, found.get(made.message.input_id))

    def check_embedders(self, call: Call, drafts: Sequence[AnnotationDraft]) -> None:
        """An embed_model_version_id must name an embedder or a space of the app."""
        for version in {made.message.embed_model_version_id for made in drafts} - {""}:
            if self._embedders.by_version(version) is None and self._store.read().space(call.app.row, version) is None:
                for made in drafts:
                    if made.message.embed_model_version_id == version:
                        made.refuse(f"embed_model_version_id {version!r} is unknown; ListModels names those there are")

    def _find_regions(self, drafts: Sequence[AnnotationDraft]) -> None:
        """A region named by id alone lies where an earlier annotation of the input put it."""
        lacking = [
            made
            for made in drafts
            if made.failure is None and made.region is not None and not made.region.HasField("region_info")
        ]
        known: dict[tuple[int, str], RegionInfo] = {}
        if lacking:
            rows = {made.input.row for made in lacking if made.input}
            for stored in self._store.read().annotations_of_inputs(list(rows)):
                region = region_of(Annotation.FromString(stored.message).data)
                if region is not None and region.HasField("region_info"):
                    known[stored.input, region.id] = region.region_info
        for made in lacking:
            if made.input is None or made.region is None:
                continue
            info = known.get((made.input.row, made.region.id))
            if info is None:
                made.refuse(
                    f"region {made.region.id!r} does not exist on input {made.input.id!r}; give its region_info"
                )
            else:
                made.region.region_info.CopyFrom(info)

    def embed_regions(self, call: Call, drafts: Sequence[AnnotationDraft]) -> None:
        """Gives regions their own vectors where there are pixels or characters, and new regions an id. Raises Gone."""
        wanted = []
        for made in drafts:
            if made.failure is None and made.region is not None and made.input is not None:
                made.region.id = made.region.id or ids.new_id()
                info = made.region.region_info
                call.check()
                box = self._take_mask(made, info)
                if made.failure is None:
                    wanted.append((made, Wanted(made.input, info, box, made.message.embed_model_version_id)))
        if not wanted:
            return
        self._crops.embed(call, [one for _, one in wanted])
        for made, one in wanted:
            if one.vector is not None:
                made.vectors.append(one.vector)

    def _take_mask(self, made: AnnotationDraft, info: RegionInfo) -> BoundingBox | None:
        if not info.mask.image.base64:
            return None
        try:
            digest, box = self._masks.take(info.mask)
        except Failure as failure:
            made.refuse(failure.details, failure.code)
            return None
        made.blobs.append(digest)
        return box

    def _write(self, call: Call, drafts: list[AnnotationDraft]) -> bytes:
        concepts = [concept for made in drafts if made.failure is None for concept in made.concepts]
        for attempt in range(_RETRIES):
            known = None if attempt else self._known
            names = Names(self._store.read(), call.app.row, call.app.id, concepts, known)
            names.fill(concepts)
            batch = _Batch(call, drafts, names)
            try:
                answered = self._store.write(batch.run)
            except StaleError:
                continue
            self._known.note(call.app.row, batch.confirmed)
            return answered
        raise Failure(StatusCode.DATABASE_FAIL_TASK, "The concepts of this request keep being renamed; send it again.")


def _take_input(made: AnnotationDraft, found: InputRecord | None) -> None:
    made.input = found
    if found is None:
        made.refuse(f"input {ids.shown(made.message.input_id)} does not exist; post it first")
    elif found.status in (StatusCode.INPUT_PENDING, StatusCode.INPUT_IN_PROGRESS):
        made.refuse(f"input {found.id!r} is still being processed; wait until its status is 30000")
    elif found.status != StatusCode.INPUT_SUCCESS:
        made.refuse(f"input {found.id!r} failed with {found.status}; delete it and post it again")


class _Batch:
    """One op: the request's sound drafts become rows together."""

    def __init__(self, call: Call, drafts: list[AnnotationDraft], names: Names) -> None:
        self._call = call
        self._app = call.app.row
        self._drafts = drafts
        self._names = names
        self.confirmed: dict[str, str] = {}  # concept id -> name, once written
        self._made: dict[int, tuple[bytes, tuple[str, str, str]]] = {}
        for made in drafts:
            if made.failure is None:
                refuse_impostor(made, call)
            if made.failure is None:
                who = author(made.message, call.user_id)
                made.message.trusted = made.message.trusted or bool(who[0])
                self._made[id(made)] = (body(made), who)

    def run(self, tx: Transaction) -> bytes:
        """Writes and answers; runs on the writer thread."""
        self._refuse_taken(tx)
        spaces = Spaces(tx, self._app)
        sound = []
        for made in self._drafts:
            if made.failure is None and made.vectors and (problem := spaces.problem(made.vectors)):
                made.refuse(problem)
            if made.failure is None and made.input is not None:
                sound.append((made, made.input))
        stored = self._insert(tx, sound, spaces)
        return self._answer(stored)

    def _refuse_taken(self, tx: Transaction) -> None:
        sound = [made for made in self._drafts if made.failure is None]
        alive = tx.inputs(self._app, list({made.message.input_id for made in sound}))
        for made in sound:
            if made.input is None:
                _take_input(made, alive.get(made.message.input_id))
        sound = [made for made in sound if made.failure is None]
        pairs = [(made.message.input_id, made.message.id) for made in sound if made.explicit_id]
        taken = set(tx.annotations(self._app, pairs)) if pairs else set()
        for made in sound:
            pair = (made.message.input_id, made.message.id)
            now = alive.get(made.message.input_id)
            if now is None or made.input is None or now.row != made.input.row:
                made.refuse(f"input {made.message.input_id!r} was deleted meanwhile")
            elif made.explicit_id and pair in taken:
                made.refuse(
                    f"annotation {made.message.id!r} exists on input {made.message.input_id!r}; "
                    "patch it, or post with another id",
                    StatusCode.DATABASE_DUPLICATE_KEY,
                )
            elif made.explicit_id:
                taken.add(pair)

    def _insert(
        self, tx: Transaction, sound: list[tuple[AnnotationDraft, InputRecord]], spaces: Spaces
    ) -> dict[int, bytes]:
        if not sound:
            return {}
        wanted = {used.id: self._names.wanted[used.id] for made, _ in sound for used in made.concepts}
        concepts = creating.concepts(tx, self._call, wanted)
        self._names.confirm(concepts)
        self.confirmed = {concept_id: record.name for concept_id, record in concepts.items()}
        times = records.annotation_times(tx.now_us, tx.now_us)
        rows, labels, stored = [], [], {}
        for (made, source), row in zip(sound, tx.reserve_annotations(len(sound)), strict=True):
            start, who = self._made[id(made)]
            message = start + times
            rows.append(record(made, source, row, message, who, tx.now_us))
            labels += [(row, concepts[name].row, value) for name, value in label_values(made.concepts).items()]
            spaces.add(row, made.vectors)
            if made.blobs:
                tx.add_blobs(source.row, made.blobs)
            stored[id(made)] = message
        tx.add_annotations(self._app, rows, labels)
        spaces.write()
        return stored

    def _answer(self, stored: dict[int, bytes]) -> bytes:
        items, codes = [], []
        for made in self._drafts:
            if made.failure is None:
                items.append(stored[id(made)])
                codes.append(_OK)
            else:
                status = statuses.of_failure(made.failure)
                if not made.explicit_id:
                    made.message.ClearField("id")
                items.append(refused(made.message, status).SerializeToString())
                codes.append(status)
        return answer(self._call, codes, items)


def answer(call: Call, codes: Sequence[Status], items: Sequence[bytes]) -> bytes:
    """A MultiAnnotationResponse of stored bytes."""
    summary = statuses.summary(codes)
    summary.req_id = call.request_id
    return wire.framed(STATUS, summary.SerializeToString()) + wire.repeated(ANNOTATIONS, items)


_OK = statuses.status(StatusCode.ANNOTATION_SUCCESS)
