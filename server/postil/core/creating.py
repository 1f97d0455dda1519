"""Concepts that come into being because something is labelled with them."""

from __future__ import annotations

from collections.abc import Mapping

from postil.core.call import Call
from postil.core.callers import lacking
from postil.core.scopes import CONCEPTS_ADD
from postil.store.base import ConceptRecord, Transaction


def concepts(tx: Transaction, call: Call, wanted: Mapping[str, str]) -> dict[str, ConceptRecord]:
    """`Transaction.ensure_concepts` for a caller who may make concepts, or needs to make none.

    Raises:
        Failure: CONN_INSUFFICIENT_SCOPES; the op keeps nothing then.
    """
    if not wanted:
        return {}
    if not call.caller.has(CONCEPTS_ADD):
        new = wanted.keys() - tx.concepts(call.app.row, list(wanted)).keys()
        if new:
            raise lacking([CONCEPTS_ADD], f"a new concept such as {min(new)!r} needs")
    return tx.ensure_concepts(call.app.row, wanted)
