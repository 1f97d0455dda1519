"""What the nearest labelled vectors say: scores without any training.

A neighbour votes with the weight exp(-d²/s²), where s is the distance of the farthest of those asked: the local scale
of Zelnik-Manor and Perona (2004), so that the vote needs no setting and is the same in any unit of length. One vote,
that of the concept's share among all labels, is added, so that a few far neighbours do not make a certainty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from postil.core import blas

Matrix = NDArray[np.float32]

NEIGHBOURS = 20  # that are asked, when nobody says how many
_CHUNK = 512  # queries compared at once


class Near(NamedTuple):
    """The nearest rows of each query, nearest first; equal ones by row."""

    rows: NDArray[np.int64]  # [m, k]
    squares: Matrix  # [m, k], squared distances


def nearest(vectors: Matrix, queries: Matrix, k: int, *, without_self: bool = False) -> Near:
    """The k nearest of vectors, float32 [n, dim], to each query, float32 [m, dim], by exact comparison.

    Args:
        vectors: To choose from.
        queries: To choose for.
        k: How many; fewer when there are fewer vectors.
        without_self: The queries are the vectors, and none is its own neighbour.
    """
    k = min(k, len(vectors) - int(without_self))
    rows = np.empty((len(queries), max(k, 0)), dtype=np.int64)
    squares = np.empty(rows.shape, dtype=np.float32)
    lengths = np.einsum("ij,ij->i", vectors, vectors)
    for begin in range(0, len(queries) if k > 0 else 0, _CHUNK):
        asked = queries[begin : begin + _CHUNK]
        with blas.threads_for(asked.size * len(vectors)):
            found = asked @ vectors.T
        found = lengths - 2.0 * found + np.einsum("ij,ij->i", asked, asked)[:, None]
        if without_self:
            found[np.arange(len(asked)), np.arange(begin, begin + len(asked))] = np.inf
        some = np.sort(np.argpartition(found, k - 1, axis=1)[:, :k], axis=1)
        near = np.take_along_axis(found, some, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        rows[begin : begin + _CHUNK] = np.take_along_axis(some, order, axis=1)
        squares[begin : begin + _CHUNK] = np.maximum(np.take_along_axis(near, order, axis=1), 0.0)
    return Near(rows, squares)


def to_nearest(vectors: Matrix, queries: Matrix) -> Matrix:
    """The squared distance of each query, float32 [m, dim], to the nearest vector: float32 [m]; inf without any."""
    if not len(vectors):
        return np.full(len(queries), np.inf, np.float32)
    return nearest(vectors, queries, 1).squares[:, 0]


def neighbour_scores(squares: Matrix, labels: Matrix, prior: Matrix, *, exclusive: bool) -> Matrix:
    """The chance of each concept by the vote of neighbours: float32 [m, concepts] in 0..1.

    Args:
        squares: Squared distances, float32 [m, k], in any order; inf where there is no neighbour.
        labels: Of the neighbours, float32 [m, k, concepts]: 1 present, 0 absent, NaN unknown, which is no vote.
        prior: The share of each concept among all labels, float32 [concepts].
        exclusive: Exactly one concept is true, so the scores of a row add up to 1.
    """
    finite = np.where(np.isfinite(squares), squares, 0.0)
    farthest = finite.max(axis=1, initial=0.0, keepdims=True)
    votes = np.exp(-finite / np.where(farthest > 0.0, farthest, 1.0)) * np.isfinite(squares)
    heard = votes[:, :, None] * ~np.isnan(labels)
    found = (np.einsum("mkc,mkc->mc", heard, np.nan_to_num(labels)) + prior) / (heard.sum(axis=1) + 1.0)
    if exclusive:
        found = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(found, dtype=np.float32)


def shares(labels: Matrix) -> Matrix:
    """The share of each concept among its known labels: float32 [concepts]; one half where there are none."""
    present, known = (labels == 1.0).sum(axis=0), (~np.isnan(labels)).sum(axis=0)
    return np.asarray((present + 0.5) / (known + 1.0), dtype=np.float32)
