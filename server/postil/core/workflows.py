"""Workflows of an app, kept with all their versions, and the public ones. Thread-safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from postil.core import base_workflow, ids, pages, patch, statuses, workflow_graphs
from postil.core.base_workflow import KIND
from postil.core.call import Call
from postil.core.runnables import Runnables
from postil.errors import Failure, invalid_request, missing
from postil.store.base import Duplicate, NamedRecord, Queries, Store, Transaction
from postil.v1.app_pb2 import App
from postil.v1.common_pb2 import Visibility
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import BaseResponse, Status
from postil.v1.workflow_pb2 import Workflow, WorkflowVersion
from postil.v1.workflow_service_pb2 import (
    DeleteWorkflowRequest,
    DeleteWorkflowsRequest,
    GetWorkflowRequest,
    GetWorkflowVersionRequest,
    ListWorkflowsRequest,
    ListWorkflowVersionsRequest,
    MultiWorkflowResponse,
    MultiWorkflowVersionResponse,
    PatchWorkflowsRequest,
    PostWorkflowsRequest,
    SingleWorkflowResponse,
    SingleWorkflowVersionResponse,
)

MAX_ITEMS = 128
MAX_WORKFLOWS = 10_000  # in an app

_VERSION_KIND = "workflow_version"  # of the store's named things; the workflow's id is their detail
_KEPT = frozenset({"id", "app_id", "user_id", "created_at", "modified_at", "version"})
_UNSUPPORTED = (
    "featured_only", "starred_only", "bookmark", "visibility", "sort_by_star_count", "sort_by_relevance",
)  # fmt: skip
_ORDERS: dict[str, Callable[[Workflow], Any]] = {
    "sort_by_id": lambda workflow: workflow.id,
    "sort_by_modified_at": lambda workflow: workflow.modified_at.ToMicroseconds(),
    "sort_by_created_at": lambda workflow: workflow.created_at.ToMicroseconds(),
}


class Workflows:
    """What the Workflows service keeps.

    Args:
        store: Where the apps' own are kept.
        models: What nodes may name.
    """

    def __init__(self, store: Store, models: Runnables) -> None:
        self._store = store
        self._models = models

    def post(self, call: Call, request: PostWorkflowsRequest) -> MultiWorkflowResponse:
        """Adds workflows, all or none."""
        _check_count(request.workflows)
        for position, workflow in enumerate(request.workflows):
            where = ids.at("workflows", position)
            workflow.id = workflow.id or ids.new_id()
            ids.check("workflow", workflow.id, where)
            if not workflow.nodes:
                workflow.nodes.extend(workflow.version.nodes)
            workflow_graphs.check(call, workflow.nodes, self._models, where)

        def op(tx: Transaction) -> list[Workflow]:
            made = [_completed(call, workflow, tx.now_us) for workflow in request.workflows]
            for workflow in made:
                _add_version(tx, call.app.row, workflow)
                tx.add_named(call.app.row, KIND, workflow.id, "", workflow.SerializeToString())
            return made

        try:
            return MultiWorkflowResponse(status=_ok(), workflows=self._store.write(op))
        except Duplicate as duplicate:
            taken = str(duplicate.args[0])
            details = f"The app has a workflow {ids.shown(taken)} already; choose another id. Nothing was changed."
            raise Failure(StatusCode.DATABASE_DUPLICATE_KEY, details) from duplicate

    def get(self, call: Call, request: GetWorkflowRequest) -> SingleWorkflowResponse:
        """A workflow in its latest version."""
        return SingleWorkflowResponse(status=_ok(), workflow=self.find(call, request.workflow_id))

    def find(self, call: Call, workflow_id: str, *, public_first: bool = False) -> Workflow:
        """The app's own workflow of that id, else the public one. Raises Failure CONN_DOES_NOT_EXIST."""
        own = self._own(call, workflow_id)
        public = workflow_graphs.public(workflow_id)
        found = (public or own) if public_first else (own or public)
        if found is None:
            raise missing(
                f"Workflow {ids.shown(workflow_id)} does not exist in this app or among the public ones "
                f"({base_workflow.NAMES})."
            )
        return found

    def list(self, call: Call, request: ListWorkflowsRequest) -> MultiWorkflowResponse:
        """The app's own, or under clarifai/main the public ones; filtered and in order as asked."""
        page = pages.of_list(request.page, request.per_page)
        for name in _UNSUPPORTED:
            if request.HasField("visibility") if name == "visibility" else getattr(request, name):
                raise _refuse(f"{name} is not supported; leave it out")
        if call.app_record is None:
            found = workflow_graphs.all_public()
        else:
            records = self._store.read().list_named(call.app.row, KIND, 0, MAX_WORKFLOWS)
            found = [Workflow.FromString(record.message) for record in records]
        found = [workflow for workflow in found if _matches(workflow, request)]
        order = request.WhichOneof("sort_by")
        if order and getattr(request, order):
            found.sort(key=_ORDERS[order], reverse=not request.sort_ascending)
        return MultiWorkflowResponse(status=_ok(), workflows=found[page.offset : page.offset + page.limit])

    def patch(self, call: Call, request: PatchWorkflowsRequest) -> MultiWorkflowResponse:
        """Changes workflows, all or none; other nodes make a new version."""
        action = patch.chosen(request.action)
        _check_count(request.workflows)

        def op(tx: Transaction) -> list[Workflow]:
            return [
                self._patch(tx, call, action, change, ids.at("workflows", position))
                for position, change in enumerate(request.workflows)
            ]

        return MultiWorkflowResponse(status=_ok(), workflows=self._store.write(op))

    def _patch(self, tx: Transaction, call: Call, action: str, change: Workflow, where: str) -> Workflow:
        record = tx.named(call.app.row, KIND, change.id)
        if record is None:
            raise missing(f"{where}: workflow {ids.shown(change.id)} does not exist in this app.")
        stored = Workflow.FromString(record.message)
        if not change.nodes:
            change.nodes.extend(change.version.nodes)
        after = patch.apply(action, stored, change, keep=_KEPT)
        if action == "overwrite" and not change.nodes:
            after.ClearField("nodes")
            after.nodes.extend(stored.nodes)
        after.modified_at.FromMicroseconds(tx.now_us)
        if list(after.nodes) != list(stored.nodes):
            workflow_graphs.check(call, after.nodes, self._models, where)
            after.version.CopyFrom(workflow_graphs.version_of(after, ids.new_id()))
            _add_version(tx, call.app.row, after)
        tx.update_named(record.row, after.SerializeToString())
        return after

    def delete_one(self, call: Call, request: DeleteWorkflowRequest) -> BaseResponse:
        """Raises Failure CONN_DOES_NOT_EXIST when it is not there."""
        if not self._delete(call, [request.workflow_id]):
            raise missing(f"Workflow {ids.shown(request.workflow_id)} does not exist in this app.")
        return BaseResponse(status=_ok())

    def delete_many(self, call: Call, request: DeleteWorkflowsRequest) -> BaseResponse:
        """Those that are not there are passed over."""
        if request.delete_all:
            raise _refuse("delete_all is not supported; name the workflows in ids")
        _check_count(request.ids)
        self._delete(call, request.ids)
        return BaseResponse(status=_ok())

    def _delete(self, call: Call, workflow_ids: Sequence[str]) -> Sequence[str]:
        row = call.app.row

        def op(tx: Transaction) -> Sequence[str]:
            app = tx.app(call.app.user_id, call.app.id)
            base = base_workflow.named(App.FromString(app.message)) if app else ""
            if base in workflow_ids and tx.named(row, KIND, base):
                raise _refuse(f"workflow {base!r} is the app's base workflow; give the app another one first")
            gone = tx.delete_named(row, KIND, workflow_ids)
            for workflow_id in gone:
                tx.delete_named(row, _VERSION_KIND, [record.id for record in _versions(tx, row, workflow_id)])
            return gone

        return self._store.write(op)

    def versions(self, call: Call, request: ListWorkflowVersionsRequest) -> MultiWorkflowVersionResponse:
        """Newest first."""
        page = pages.of_list(request.page, request.per_page)
        found = self._all_versions(call, self.find(call, request.workflow_id))
        return MultiWorkflowVersionResponse(
            status=_ok(), workflow_versions=found[page.offset : page.offset + page.limit]
        )

    def version(self, call: Call, request: GetWorkflowVersionRequest) -> SingleWorkflowVersionResponse:
        """Raises Failure CONN_DOES_NOT_EXIST."""
        workflow = self.find(call, request.workflow_id)
        found = self.in_version(call, workflow, request.workflow_version_id)
        return SingleWorkflowVersionResponse(status=_ok(), workflow_version=found.version)

    def in_version(self, call: Call, workflow: Workflow, version_id: str) -> Workflow:
        """The workflow as it was in that version ("": the latest). Raises Failure CONN_DOES_NOT_EXIST."""
        if version_id in {"", workflow.version.id}:
            return workflow
        for version in self._all_versions(call, workflow):
            if version.id == version_id:
                workflow.version.CopyFrom(version)
                workflow.ClearField("nodes")
                workflow.nodes.extend(version.nodes)
                return workflow
        raise missing(f"Workflow {workflow.id!r} has no version {ids.shown(version_id)}.")

    def _own(self, call: Call, workflow_id: str) -> Workflow | None:
        if call.app_record is None:
            return None
        record = self._store.read().named(call.app.row, KIND, workflow_id)
        return Workflow.FromString(record.message) if record else None

    def _all_versions(self, call: Call, workflow: Workflow) -> Sequence[WorkflowVersion]:
        if self._own(call, workflow.id) is None:
            return [workflow.version]
        records = _versions(self._store.read(), call.app.row, workflow.id)
        return [WorkflowVersion.FromString(record.message) for record in reversed(records)]


def _versions(queries: Queries, app: int, workflow_id: str) -> list[NamedRecord]:
    """Oldest first."""
    found: list[NamedRecord] = []
    while chunk := queries.list_named(app, _VERSION_KIND, len(found), MAX_WORKFLOWS):
        found += chunk
    return [record for record in found if record.detail == workflow_id]


def _add_version(tx: Transaction, app: int, workflow: Workflow) -> None:
    tx.add_named(app, _VERSION_KIND, workflow.version.id, workflow.id, workflow.version.SerializeToString())


def _completed(call: Call, posted: Workflow, now_us: int) -> Workflow:
    """A new workflow as it is stored."""
    workflow = Workflow()
    workflow.CopyFrom(posted)
    workflow.app_id, workflow.user_id = call.app.id, call.app.user_id
    workflow.visibility.gettable = workflow.visibility.gettable or Visibility.PRIVATE
    workflow.created_at.FromMicroseconds(now_us)
    workflow.modified_at.FromMicroseconds(now_us)
    workflow.is_starred, workflow.star_count = False, 0
    workflow.version.CopyFrom(workflow_graphs.version_of(workflow, ids.new_id()))
    return workflow


def _matches(workflow: Workflow, request: ListWorkflowsRequest) -> bool:
    described = f"{workflow.id}\n{workflow.description}\n{workflow.notes}".casefold()
    wanted = (request.search, request.query, request.search_term)
    return request.id.casefold() in workflow.id.casefold() and all(one.casefold() in described for one in wanted)


def _check_count(items: Sequence[object]) -> None:
    if not 1 <= len(items) <= MAX_ITEMS:
        raise invalid_request(f"{len(items)} workflows were given; send 1 to {MAX_ITEMS} in one call.")


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.WORKFLOW_INVALID_REQUEST, f"{details}.")


def _ok() -> Status:
    return statuses.status(StatusCode.SUCCESS)
