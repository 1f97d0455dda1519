"""Changes of the feed put together: what they come to for each app, as one change would say it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from postil.store.base import AnnotationFact, Change, Facts, InputFact

Known = Callable[[int, int], bool]
"""Whether an annotation (row) of an app (row) was there before."""


class Batch:
    """What some changes come to for one app.

    Attributes:
        app: Row.
        gone: Annotations that are deleted.
        annotations: By row, as the last change left them.
        inputs: By row, the same.
        unread: Annotations that were touched, but not handed over.
        revectored: The newest change that replaced or took away vectors of annotations that stay; 0 when none did.
    """

    def __init__(self, app: int, known: Known) -> None:
        self.app = app
        self.gone: set[int] = set()
        self.annotations: dict[int, AnnotationFact] = {}
        self.inputs: dict[int, InputFact] = {}
        self.unread: set[int] = set()
        self.revectored = 0
        self._known = known

    def take(self, change: Change) -> None:
        """One more change, which follows those before."""
        if len(change.gone) or any(self._has(row) for put in change.put for row in put.rows.tolist()):
            self.revectored = change.seq
        touched = change.touched.tolist()
        if len(change.gone):
            deleted = set(change.gone.tolist()).difference(touched)
            self.gone |= deleted
            self.unread -= deleted
            for row in deleted:
                self.annotations.pop(row, None)
            self.inputs = {row: one for row, one in self.inputs.items() if one.anchor not in deleted}
        self.gone.difference_update(touched)
        if change.facts is None:
            self.unread.update(touched)
        else:
            self.add(change.facts)

    def _has(self, row: int) -> bool:
        return row in self.annotations or row in self.unread or self._known(self.app, row)

    def add(self, facts: Facts) -> None:
        """What annotations and inputs say now."""
        for fact in facts.annotations:
            self.annotations[fact.record.row] = fact
        for one in facts.inputs:
            self.inputs[one.row] = one

    def facts(self) -> Facts:
        """All that is to be put."""
        return Facts(
            tuple(self.annotations[row] for row in sorted(self.annotations)),
            tuple(self.inputs[row] for row in sorted(self.inputs)),
        )


def merged(changes: Iterable[Change], known: Known) -> list[Batch]:
    """One batch for each app."""
    batches: dict[int, Batch] = {}
    for change in changes:
        batch = batches.get(change.app)
        if batch is None:
            batch = batches[change.app] = Batch(change.app, known)
        batch.take(change)
    return list(batches.values())
