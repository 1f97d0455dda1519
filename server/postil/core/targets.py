"""Resolves a rank against an app: in which space to look, near to which vector, and what is labelled already.

Nothing here walks the index. What reads many vectors (a concept's examples) waits until a page needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from postil.core import hyponyms, ids, languages, predictions, scores
from postil.core.call import PUBLIC_APP
from postil.core.head_shelf import HeadShelf, PlacedHead
from postil.core.labelled import Labelled
from postil.core.predictions import PredictedConcept
from postil.core.query import Query
from postil.core.ranks import ByConcept, ByInput, ByVector, Rank, invalid
from postil.embed.general import VERSION_ID
from postil.errors import Failure
from postil.store.base import AppRecord, ConceptRecord, InputRecord, Queries, SpaceRecord
from postil.v1.status_code_pb2 import StatusCode

Vector = NDArray[np.float32]

_PREFERENCE = ("picture", "text", "client")  # of the kinds of spaces, where an input has vectors in several


EMPTY = BitMap()  # nobody adds to a target

# Neighbours to ask a graph for around a point where no vectors lie, such as the opposite of one. Measured among
# 50,000 x 256 in clusters, recall@10 around opposites: 0.66 of 100, 0.85 of 300, 0.99 of 1,000, 0.998 of 2,000.
WIDE = 2000


@dataclass(frozen=True, slots=True)
class Point:
    """Where to look: a vector in a space. Of length 1 when the space is."""

    space: SpaceRecord
    vector: Vector  # float32 [space.dim]
    middle: bool = False  # of several examples: no vectors need lie near, and it will be asked for again


@dataclass(frozen=True, slots=True)
class Target:
    """What a rank comes down to.

    Args:
        point: Gives the point to look near to; None when the app has no vectors to look among.
        flip: Farthest first.
        best: Rows of annotations that score 1 by label.
        worst: Rows of annotations that score 0 by label.
        predicted: Where the order comes from what the general model says, and not from a point.
        head: Where it comes from what a model of the app's own has learned.
    """

    point: Callable[[], Point | None]
    flip: bool
    best: BitMap = EMPTY
    worst: BitMap = EMPTY
    predicted: PredictedConcept | None = None
    head: PlacedHead | None = None


def point_in(space: SpaceRecord, vector: Vector, where: str) -> Point:
    """The vector as a point of the space; raises Failure 40002 when it does not fit."""
    if len(vector) != space.dim:
        raise invalid(
            f"{where}: the vector has {len(vector)} numbers but the space {space.id!r} has {space.dim}; "
            "send that many, or name another space in embeddings[0].space"
        )
    return Point(space, scores.direction(vector) if space.unit else vector)


def fixed(point: Point | None, *, flip: bool) -> Target:
    """A target without labels whose point is known."""
    return Target(lambda: point, flip)


class Resolver:
    """Resolves the ranks of one app that need nothing but the store.

    Args:
        queries: Reads.
        app: The app searched in.
        spaces: All spaces of the app.
        space_of: Embedder's name -> the id of its space, or None.
        labelled: What is labelled with what.
        shelf: What models of the app's own have learned.
    """

    def __init__(
        self,
        queries: Queries,
        app: AppRecord,
        spaces: list[SpaceRecord],
        space_of: Callable[[str], str | None],
        labelled: Labelled,
        shelf: HeadShelf,
    ) -> None:
        self._shelf = shelf
        self._labelled = labelled
        self._queries = queries
        self._app = app
        self._spaces = spaces
        self._space_of = space_of

    def vector(self, subject: ByVector, rank: Rank) -> Target:
        """Near to a client's vector, in the space it names or the one that fits."""
        wanted = rank.space or subject.space
        if rank.space and subject.space and rank.space != subject.space:
            raise invalid(
                f"{rank.where} names two spaces, {ids.shown(rank.space)} and {ids.shown(subject.space)}; name one"
            )
        space = self.named_space(wanted, rank.where) if wanted else self._fitting(len(subject.vector), rank.where)
        if space is None:
            return fixed(None, flip=rank.flip)
        return fixed(point_in(space, subject.vector, rank.where), flip=rank.flip)

    def space(self, space_id: str) -> SpaceRecord | None:
        """The app's space of that id."""
        return next((space for space in self._spaces if space.id == space_id), None)

    def named_space(self, space_id: str, where: str) -> SpaceRecord | None:
        """The space of that id; None when it is a built-in one without vectors. Raises Failure 40002."""
        space = self.space(space_id)
        if space is not None:
            return space
        known = self._space_of(space_id)
        if known is None:
            name = ids.shown(space_id)
            raise invalid(f"{where}: the app has no vectors in a space {name}; it has {self._known_spaces()}")
        return self.space(known)

    def _known_spaces(self) -> str:
        return ", ".join(f"{s.id!r} ({s.dim} numbers)" for s in self._spaces) or "none yet"

    def _fitting(self, dim: int, where: str) -> SpaceRecord | None:
        """A client's space of this dimension, else a built-in one; None when the app has no vectors at all."""
        if not self._spaces:
            return None
        fitting = [s for s in self._spaces if s.dim == dim]
        own = [s for s in fitting if s.kind == "client"]
        candidates = own or fitting
        if not candidates:
            raise invalid(f"{where}: the vector has {dim} numbers; the app has vectors in {self._known_spaces()}")
        if len(candidates) > 1:
            names = ", ".join(repr(s.id) for s in candidates)
            raise invalid(f"{where}: the vector fits several spaces ({names}); name one in embeddings[0].space")
        return candidates[0]

    def input(self, subject: ByInput, rank: Rank) -> Target:
        """Near to the mean of the input's vectors."""
        record = self._queries.input(self._app.row, subject.input_id)
        if record is None:
            raise invalid(f"{rank.where}: the app has no input {ids.shown(subject.input_id)}; name one of its inputs")
        for space in self._by_preference(rank):
            vectors = self._queries.vectors_of_input(space.row, record.row)
            if len(vectors.rows):
                return fixed(_centre(space, vectors.matrix.mean(axis=0), rank.where), flip=rank.flip)
        raise _unindexed(record)

    def concept(self, subject: ByConcept, rank: Rank, query: Query) -> Target:
        """Labelled with the concept first, then near to the mean of what is, then what is labelled as lacking it.

        Where a model of the app's own has learned the concept, its head takes the place of nearness; else, where the
        general model knows it, that model's predictions do, unless the rank names this app as the concept's own. A rank
        may name the version of a model that shall say it.
        """
        learned = self._learned(subject, rank, query)
        if learned is not None:
            return learned
        general = self._general(subject)
        if rank.version and (general is None or rank.version != VERSION_ID):
            raise invalid(
                f"{rank.where}.annotation.model_version_id: no trained version {ids.shown(rank.version)} knows the "
                f"concept {ids.shown(subject.id or subject.name)}; ListModelConcepts tells what a version knows"
            )
        if general is not None:
            return self._predicted(general, subject, rank, query)
        concept = self._find(subject, rank.where, query.language)
        present, absent = self._labels(concept, rank, query)
        if not present:
            raise invalid(
                f"{rank.where}: nothing is labelled with the concept {concept.id!r} yet; "
                f"post an annotation with concepts[] {{id: {concept.id!r}, value: 1}}, or train a model on it, "
                "then rank by it"
            )
        best, worst = (absent, present) if rank.flip else (present, absent)
        centre = cache(lambda: self._centre_of(concept, present, rank))
        return Target(centre, rank.flip, best, worst)

    def _learned(self, subject: ByConcept, rank: Rank, query: Query) -> Target | None:
        """By the newest head for the concept; None when there is none. Labels overrule it."""
        if subject.app_id == PUBLIC_APP != self._app.id or rank.version == VERSION_ID:
            return None
        try:
            concept = self._find(subject, rank.where, query.language)
        except Failure:  # it may be the general model's
            return None
        head = self._shelf.of_concept(self._queries, self._app.row, concept.id, self._spaces, rank.version)
        if head is None or (rank.space and head.space != self.named_space(rank.space, rank.where)):
            return None
        present, absent = self._overruling(concept, rank, query)
        best, worst = (absent, present) if rank.flip else (present, absent)
        return Target(lambda: None, rank.flip, best, worst, head=head)

    def _overruling(self, concept: ConceptRecord, rank: Rank, query: Query) -> tuple[BitMap, BitMap]:
        """As `_labels`, against a model that speaks for an input as a whole: whoever denies what it says in an
        annotation beside it has the last word."""
        present, absent = self._labels(concept, rank, query)
        return present, absent | (self._labelled.denied(self._app.row, concept.row) - present)

    def _general(self, subject: ByConcept) -> PredictedConcept | None:
        if subject.app_id not in {"", PUBLIC_APP}:
            return None
        return predictions.find(self._queries, self._app.row, subject.id, subject.name)

    def _predicted(self, general: PredictedConcept, subject: ByConcept, rank: Rank, query: Query) -> Target:
        """By the general model's predictions; labels with the app's own concept of that id or name overrule them."""
        try:
            own = self._find(replace(subject, app_id=""), rank.where, query.language)
        except Failure:  # a concept need not be the app's own for the general model to know it
            return Target(lambda: None, rank.flip, predicted=general)
        present, absent = self._overruling(own, rank, query)
        best, worst = (absent, present) if rank.flip else (present, absent)
        return Target(lambda: None, rank.flip, best, worst, general)

    def _labels(self, concept: ConceptRecord, rank: Rank, query: Query) -> tuple[BitMap, BitMap]:
        """(labelled present, labelled absent); a kind of the concept that is present counts as the concept itself, if
        asked."""
        meant = [concept.row]
        if query.expand_hyponyms:
            meant = hyponyms.expand(self._queries, self._app, [concept], rank.where)
        present = self._labelled.with_any(self._app.row, meant)
        return present, self._labelled.lacking(self._app.row, concept.row) - present

    def _find(self, subject: ByConcept, where: str, language: str = "") -> ConceptRecord:
        """By id, else by exact name in the language that the concept says, or that is given."""
        if subject.app_id not in {"", self._app.id}:
            raise invalid(f"{where}: the concept is of the app {ids.shown(subject.app_id)}; search in that app")
        if subject.id:
            concept = self._queries.concept(self._app.row, subject.id)
            found = [concept] if concept else []
        else:
            spoken = languages.foreign(self._app, subject.language, language)
            if spoken:
                languages.check(spoken, where, StatusCode.SEARCH_INVALID_REQUEST)
            found = languages.find(self._queries, self._app, subject.name, spoken)
        asked = f"with the id {ids.shown(subject.id)}" if subject.id else f"named {ids.shown(subject.name)}"
        if not found:
            raise invalid(f"{where}: the app has no concept {asked}; list them with ListConcepts")
        if len(found) > 1:
            raise invalid(f"{where}: {len(found)} concepts are {asked}; give the id of one")
        return found[0]

    def _centre_of(self, concept: ConceptRecord, present: BitMap, rank: Rank) -> Point | None:
        """The mean of the examples' vectors, in the space where most of them have one."""
        most, chosen, total = 0, None, None
        wanted = self._labelled.anchors(self._app.row, present)
        for space in self._by_preference(rank):
            count, summed = self._labelled.sum(self._app.row, space.row, concept.row, wanted)
            if count > most:
                most, chosen, total = count, space, summed
            if most == len(wanted):
                break
        if chosen is None or total is None:
            return None
        return replace(_centre(chosen, (total / most).astype(np.float32), rank.where), middle=most > 1)

    def _by_preference(self, rank: Rank) -> list[SpaceRecord]:
        """The one space that the rank names, or all of the app's: pictures, texts, clients' own; older first."""
        if rank.space:
            space = self.named_space(rank.space, rank.where)
            return [space] if space else []
        return sorted(self._spaces, key=lambda s: (_PREFERENCE.index(s.kind), s.row))


def _centre(space: SpaceRecord, mean: Vector, where: str) -> Point:
    if not np.any(mean):
        raise invalid(f"{where}: the vectors cancel each other out, so their mean points nowhere; rank by one of them")
    return point_in(space, mean, where)


def _unindexed(record: InputRecord) -> Failure:
    return Failure(
        StatusCode.SEARCH_BY_NOT_FULLY_INDEXED_INPUT,
        f"Input {record.id!r} has no vectors to search by (its status is {record.status}); "
        "wait until it is processed, or post it again if it failed.",
    )
