"""What writers, searchers and checks agree on: names, marks, and how a vector is searched for."""

from __future__ import annotations

import random

from crash.model import Vector
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest

DIM = 32
APP = UserAppIDSet(user_id="me", app_id="crash")
BULK = "bulk"  # begins the names of apps that come and go as a whole
WRITERS = 4
NAMED = 97  # concepts that marks are repeated by
_MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp41"


def concept_of(mark: int) -> str:
    """The id of the concept that repeats a mark."""
    return f"c{mark % NAMED}"


def search_for(vector: Vector, concept: str = "") -> PostInputsSearchesRequest:
    """For the nearest to a vector; of what is labelled with a concept, when one is given."""
    rank = Rank()
    rank.annotation.data.embeddings.add(vector=vector)
    query = Query(ranks=[rank])
    if concept:
        query.filters.add().annotation.data.concepts.add(id=concept, value=1)
    request = PostInputsSearchesRequest(user_app_id=APP, searches=[Search(query=query)])
    request.pagination.per_page = 1
    return request


def video(mark: int, size: int) -> bytes:
    """Bytes that pass for a video; the same for the same numbers."""
    return _MP4 + random.Random(mark).randbytes(size)
