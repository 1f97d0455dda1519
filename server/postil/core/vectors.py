"""Vectors that clients send: read without iterating, and checked before anything is kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import ids
from postil.v1.data_pb2 import Embedding

DEFAULT_SPACE = "client"
MAX_DIM = 16_384

_PACKED_VECTOR_TAG = 0x0A  # field 1, length-delimited


class SpaceVector(NamedTuple):
    """One vector and the space it belongs to."""

    space: str  # the space's id: an embedder's version id, or the client's own name
    name: str
    kind: str  # "picture", "text" or "client"
    vector: NDArray[np.float32]  # [dim]


class BadVector(ValueError):
    """A vector nobody can search by. The text says what is wrong with it."""


def read_vector(embedding: Embedding) -> NDArray[np.float32]:
    """float32 [dim] of the packed field; raises BadVector when it is empty, too long, not finite or all zero.

    Serializing and viewing the packed floats is some ten times faster than iterating over them.
    """
    count = len(embedding.vector)
    if count == 0:
        raise BadVector("it is empty; send at least one number in embeddings[0].vector")
    if count > MAX_DIM:
        raise BadVector(f"it has {count} numbers; at most {MAX_DIM} are taken")
    if embedding.num_dimensions and embedding.num_dimensions != count:
        raise BadVector(f"num_dimensions says {embedding.num_dimensions} but it has {count} numbers")
    wire = embedding.SerializeToString(deterministic=True)
    if wire[0] != _PACKED_VECTOR_TAG:  # pragma: no cover - serializers write fields in order of their numbers
        vector = np.array(embedding.vector, dtype=np.float32)
    else:
        start = 1
        while wire[start] & 0x80:
            start += 1
        vector = np.frombuffer(wire, dtype="<f4", count=count, offset=start + 1)
    length = float(np.dot(vector, vector))
    if not np.isfinite(length):
        if np.isfinite(vector).all():
            raise BadVector("its numbers are so large that its length overflows; scale it down")
        raise BadVector("it holds NaN or infinity; send finite numbers")
    if length == 0.0:
        raise BadVector("all its numbers are zero, so it points nowhere")
    return vector


def client_vector(embedding: Embedding) -> SpaceVector:
    """The vector with the name of its space (`Embedding.space`, default "client")."""
    space = embedding.space or DEFAULT_SPACE
    problem = ids.problem(space)
    if problem:
        raise BadVector(f"its space {ids.shown(space)} {problem}")
    return SpaceVector(space, space, "client", read_vector(embedding))
