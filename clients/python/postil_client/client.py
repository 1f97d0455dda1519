"""The client: one method per thing that people do, each a few lines over the stubs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias, TypedDict, TypeVar, Unpack

import grpc

from postil.v1 import (
    annotation_pb2,
    annotation_service_pb2,
    annotation_service_pb2_grpc,
    common_pb2,
    concept_pb2,
    concept_service_pb2,
    concept_service_pb2_grpc,
    data_pb2,
    input_pb2,
    input_service_pb2,
    input_service_pb2_grpc,
    search_pb2,
    search_service_pb2,
    search_service_pb2_grpc,
)
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_pb2 import Status
from postil_client import build
from postil_client.batches import MAX_ITEMS, chunks, post_all
from postil_client.build import Picture
from postil_client.channel import open_channel
from postil_client.errors import HasStatus, PostilError, check

DEFAULT_TARGET = "127.0.0.1:18080"
PAGE = 128  # items a list call brings; pages are fetched as they are needed

Unit: TypeAlias = Literal["annotations", "inputs"]
Metric: TypeAlias = Literal["euclidean", "cosine"]
RequestT = TypeVar("RequestT", bound="_Request")
RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
ResponseT = TypeVar("ResponseT", bound=HasStatus)
ResponseT_co = TypeVar("ResponseT_co", bound=HasStatus, covariant=True)

ValueT = TypeVar("ValueT")

_METRICS = {"euclidean": search_pb2.Search.EUCLIDEAN_DISTANCE, "cosine": search_pb2.Search.COSINE_DISTANCE}
_WAITING = frozenset({StatusCode.INPUT_PENDING, StatusCode.INPUT_IN_PROGRESS})


class _Request(Protocol):
    @property
    def user_app_id(self) -> common_pb2.UserAppIDSet: ...


class _Rpc(Protocol[RequestT_contra, ResponseT_co]):
    def __call__(
        self,
        request: RequestT_contra,
        timeout: float | None = None,
        metadata: tuple[tuple[str, str], ...] | None = None,
    ) -> ResponseT_co: ...


class SearchOptions(TypedDict, total=False):
    """What every search may be told."""

    filters: Sequence[search_pb2.Filter]
    """What must hold, all of them (`build.labelled`, `build.with_metadata`); default: nothing."""
    unit: Unit
    """"annotations" (default): a hit for each annotation that matches. "inputs": one hit for each input."""
    top: int
    """Hits per page, default 10; page times top may not exceed 10,000."""
    page: int
    """Default 1, the best."""
    min_value: float
    """Leaves out hits with a lower score; default 0."""
    metric: Metric
    """"euclidean" (default) or "cosine"; they differ for vectors that are not of unit length."""


class Client:
    """A connection to one app on a Postil server. Safe to share between threads.

    Args:
        target: `host:port` of the server's gRPC door.
        key: An API key; a server that asks for none needs none.
        user_id: The user to act as; empty for the key's own.
        app_id: The app to work in; empty for the key's own, or the default app of a server without keys.
        timeout: Seconds for each call, retries included.
        tls: False for plaintext, True for TLS with the system's authorities, or PEM bytes of the authority to trust.
        certificate: PEM bytes of the client's own certificate and of its key, for a server that asks for one.

    Every method raises `PostilError` when the server says no, and `grpc.RpcError` when it cannot be reached
    (after retries) or does not answer in time.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        key: str | None = None,
        user_id: str = "",
        app_id: str = "",
        timeout: float = 60.0,
        tls: bool | bytes = False,
        certificate: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._channel = open_channel(target, tls, certificate)
        self._metadata = (("authorization", f"Key {key}"),) if key else ()
        self._app = common_pb2.UserAppIDSet(user_id=user_id, app_id=app_id)
        self._timeout = timeout
        self._inputs = input_service_pb2_grpc.InputsStub(self._channel)
        self._annotations = annotation_service_pb2_grpc.AnnotationsStub(self._channel)
        self._concepts = concept_service_pb2_grpc.ConceptsStub(self._channel)
        self._searches = search_service_pb2_grpc.SearchesStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; calls under way end with CANCELLED."""
        self._channel.close()

    @property
    def channel(self) -> grpc.Channel:
        """The channel, for stubs of calls that have no method here."""
        return self._channel

    def call(self, rpc: _Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Makes any call of the contract in this client's app, and checks its status.

        For example `client.call(ModelsStub(client.channel).ListModels, ListModelsRequest())`.
        """
        response = self._send(rpc, request)
        check(response)
        return response

    def _send(self, rpc: _Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT:
        if not request.user_app_id.ByteSize():
            request.user_app_id.MergeFrom(self._app)
        return rpc(request, timeout=self._timeout, metadata=self._metadata)

    # --- inputs -----------------------------------------------------------------------------------------------------

    def add(self, inputs: Iterable[input_pb2.Input]) -> list[input_pb2.Input]:
        """Posts inputs (see `build.make_input`), 128 a call, and returns them as the server keeps them.

        Inputs given by URL may still be pending: see `wait_until_processed`.

        Raises:
            PostilError: Some or all were refused; `items` has all in order, `failed` those refused.
        """

        def post(chunk: list[input_pb2.Input]) -> tuple[Status, list[input_pb2.Input]]:
            request = input_service_pb2.PostInputsRequest(inputs=chunk)
            response = self._send(self._inputs.PostInputs, request)
            return response.status, list(response.inputs)

        return post_all(inputs, post)

    def add_pictures(
        self, pictures: Mapping[str, Picture] | Iterable[Picture], *, concepts: Sequence[str] = ()
    ) -> list[input_pb2.Input]:
        """Posts pictures, by id or with new ids, all labelled with `concepts`. Files are read as they are sent."""
        return self.add(build.make_input(name, picture=one, labels=concepts) for name, one in _named(pictures))

    def add_texts(
        self, texts: Mapping[str, str] | Iterable[str], *, concepts: Sequence[str] = ()
    ) -> list[input_pb2.Input]:
        """Posts texts, by id or with new ids, all labelled with `concepts`."""
        return self.add(build.make_input(name, text=one, labels=concepts) for name, one in _named(texts))

    def add_vectors(
        self,
        vectors: Mapping[str, Sequence[float]] | Iterable[Sequence[float]],
        *,
        space: str = "",
        concepts: Sequence[str] = (),
    ) -> list[input_pb2.Input]:
        """Posts vectors of your own, by id or with new ids. The first vector of a space fixes its dimension."""
        return self.add(
            build.make_input(name, vector=one, space=space, labels=concepts) for name, one in _named(vectors)
        )

    def get(self, input_id: str) -> input_pb2.Input:
        """One input with what is known about it as a whole.

        Raises:
            PostilError: CONN_DOES_NOT_EXIST.
        """
        return self.call(self._inputs.GetInput, input_service_pb2.GetInputRequest(input_id=input_id)).input

    def inputs(self, *, page_size: int = PAGE) -> Iterator[input_pb2.Input]:
        """All inputs, oldest first. Inputs that are added or deleted meanwhile never make it skip or repeat others."""
        last = ""
        while True:
            request = input_service_pb2.StreamInputsRequest(per_page=page_size, last_id=last)
            page = self.call(self._inputs.StreamInputs, request).inputs
            if not page:
                return
            yield from page
            last = page[-1].id

    def wait_until_processed(
        self, input_ids: Iterable[str], *, timeout: float = 300.0, interval: float = 0.2
    ) -> list[input_pb2.Input]:
        """Waits until inputs are fetched and indexed, and returns them in the order asked.

        Raises:
            PostilError: Some could not be fetched or read; `items` has all, `failed` those.
            TimeoutError: `timeout` seconds have passed; the message names what is left.
        """
        order = list(input_ids)
        waiting, done = dict.fromkeys(order), dict[str, input_pb2.Input]()
        deadline = time.monotonic() + timeout
        while waiting:
            for found in self._list(list(waiting)):
                if found.status.code not in _WAITING:
                    done[found.id] = found
                    waiting.pop(found.id)
            if waiting and time.monotonic() >= deadline:
                raise TimeoutError(
                    f"{len(waiting)} inputs are still being processed, among them {next(iter(waiting))!r}"
                )
            if waiting:
                time.sleep(interval)
        return _all_processed([done[name] for name in order])

    def _list(self, ids: list[str]) -> Iterator[input_pb2.Input]:
        for chunk in chunks(ids):
            request = input_service_pb2.ListInputsRequest(ids=chunk, page=1, per_page=MAX_ITEMS)
            found = self.call(self._inputs.ListInputs, request).inputs
            missing = set(chunk) - {one.id for one in found}
            if missing:
                raise _not_there(missing)
            yield from found

    def delete(self, input_ids: Iterable[str]) -> None:
        """Deletes inputs with all that was said about them; ids that are not there are no error."""
        for chunk in chunks(input_ids):
            self.call(self._inputs.DeleteInputs, input_service_pb2.DeleteInputsRequest(ids=chunk))

    # --- annotations ------------------------------------------------------------------------------------------------

    def annotate(self, annotations: Iterable[annotation_pb2.Annotation]) -> list[annotation_pb2.Annotation]:
        """Posts annotations (see `build.make_annotation`), 128 a call, and returns them as the server keeps them.

        Raises:
            PostilError: Some or all were refused; `items` has all in order, `failed` those refused.
        """

        def post(chunk: list[annotation_pb2.Annotation]) -> tuple[Status, list[annotation_pb2.Annotation]]:
            request = annotation_service_pb2.PostAnnotationsRequest(annotations=chunk)
            response = self._send(self._annotations.PostAnnotations, request)
            return response.status, list(response.annotations)

        return post_all(annotations, post)

    def label(
        self, input_id: str, *present: str, absent: Iterable[str] = (), region: data_pb2.Region | None = None
    ) -> annotation_pb2.Annotation:
        """Labels one input, or one region of it (see `build.box` and its like): what is there and what is not."""
        return self.annotate([build.make_annotation(input_id, present, absent, region=region)])[0]

    def annotations(
        self, *input_ids: str, untrusted: bool = False, page_size: int = PAGE
    ) -> Iterator[annotation_pb2.Annotation]:
        """Annotations of the inputs named, or of all, oldest first; those that models wrote only if `untrusted`."""

        def fetch(page: int) -> Sequence[annotation_pb2.Annotation]:
            request = annotation_service_pb2.ListAnnotationsRequest(
                input_ids=input_ids, list_all_annotations=untrusted, page=page, per_page=page_size
            )
            return self.call(self._annotations.ListAnnotations, request).annotations

        return _pages(fetch)

    def delete_annotations(self, annotations: Iterable[annotation_pb2.Annotation]) -> None:
        """Deletes annotations (only `id` and `input_id` are read); those that are not there are no error."""
        for chunk in chunks(annotations):
            request = annotation_service_pb2.DeleteAnnotationsRequest(
                ids=[one.id for one in chunk], input_ids=[one.input_id for one in chunk]
            )
            self.call(self._annotations.DeleteAnnotations, request)

    # --- concepts ---------------------------------------------------------------------------------------------------

    def concepts(self, *, page_size: int = PAGE) -> Iterator[concept_pb2.Concept]:
        """The app's concepts. They are created when first used."""

        def fetch(page: int) -> Sequence[concept_pb2.Concept]:
            request = concept_service_pb2.ListConceptsRequest(page=page, per_page=page_size)
            return self.call(self._concepts.ListConcepts, request).concepts

        return _pages(fetch)

    # --- searches ---------------------------------------------------------------------------------------------------

    def search(
        self, ranks: Sequence[search_pb2.Rank] = (), **options: Unpack[SearchOptions]
    ) -> search_service_pb2.MultiSearchResponse:
        """Filters, then ranks; `hits` of the result are best first, with `score` from 0 to 1.

        Args:
            ranks: What to order by (`build.rank`); none keeps the order of creation.
            options: See `SearchOptions`; all the other searches take the same.
        """
        query = search_pb2.Query(ranks=ranks, filters=options.get("filters", ()))
        metric = _METRICS[options.get("metric", "euclidean")]
        searches = [search_pb2.Search(query=query, min_value=options.get("min_value", 0.0), metric=metric)]
        pagination = common_pb2.Pagination(page=options.get("page", 1), per_page=options.get("top", 10))
        if options.get("unit") == "inputs":
            inputs = search_service_pb2.PostInputsSearchesRequest(searches=searches, pagination=pagination)
            return self.call(self._searches.PostInputsSearches, inputs)
        request = search_service_pb2.PostAnnotationsSearchesRequest(searches=searches, pagination=pagination)
        return self.call(self._searches.PostAnnotationsSearches, request)

    def search_by_picture(
        self, picture: Picture, **options: Unpack[SearchOptions]
    ) -> search_service_pb2.MultiSearchResponse:
        """What looks like a picture: a file's path, its bytes, or a URL that the server fetches."""
        return self._search_by_data(data_pb2.Data(image=build.image(picture)), options)

    def search_by_bytes(
        self, picture: bytes, **options: Unpack[SearchOptions]
    ) -> search_service_pb2.MultiSearchResponse:
        """What looks like the picture in these bytes of a file."""
        return self.search_by_picture(picture, **options)

    def search_by_input(
        self, input_id: str, **options: Unpack[SearchOptions]
    ) -> search_service_pb2.MultiSearchResponse:
        """What is like a stored input, itself included; the vectors of its regions are averaged."""
        return self.search([build.rank(input_id=input_id)], **options)

    def search_by_text(self, text: str, **options: Unpack[SearchOptions]) -> search_service_pb2.MultiSearchResponse:
        """What means something like the text."""
        return self._search_by_data(data_pb2.Data(text=data_pb2.Text(raw=text)), options)

    def search_by_vector(
        self, vector: Sequence[float], *, space: str = "", **options: Unpack[SearchOptions]
    ) -> search_service_pb2.MultiSearchResponse:
        """What has a vector near this one, in the space that it belongs to."""
        return self._search_by_data(data_pb2.Data(embeddings=[build.embedding(vector, space)]), options)

    def search_by_concept(
        self, *names: str, **options: Unpack[SearchOptions]
    ) -> search_service_pb2.MultiSearchResponse:
        """What most likely shows all of the concepts."""
        return self._search_by_data(data_pb2.Data(concepts=build.concepts(names)), options)

    def _search_by_data(self, data: data_pb2.Data, options: SearchOptions) -> search_service_pb2.MultiSearchResponse:
        return self.search([build.rank(data=data)], **options)


def _pages(fetch: Callable[[int], Sequence[ValueT]]) -> Iterator[ValueT]:
    """Pages from 1 until an empty one; the lists have no totals."""
    page = 1
    while items := fetch(page):
        yield from items
        page += 1


def _named(things: Mapping[str, ValueT] | Iterable[ValueT]) -> Iterator[tuple[str, ValueT]]:
    """Things with their ids, or with none."""
    if isinstance(things, Mapping):
        yield from things.items()
    else:
        yield from (("", thing) for thing in things)


def _all_processed(inputs: list[input_pb2.Input]) -> list[input_pb2.Input]:
    failed = [one for one in inputs if one.status.code != StatusCode.INPUT_SUCCESS]
    if not failed:
        return inputs
    code = StatusCode.FAILURE if len(failed) == len(inputs) else StatusCode.MIXED_STATUS
    details = f"{len(failed)} of {len(inputs)} inputs could not be processed"
    raise PostilError(Status(code=code, description="Failure", details=details), inputs)


def _not_there(ids: set[str]) -> PostilError[input_pb2.Input]:
    others = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
    details = f"There is no input {min(ids)!r}{others} in this app."
    return PostilError(
        Status(code=StatusCode.CONN_DOES_NOT_EXIST, description="Resource does not exist", details=details)
    )
