"""Composition root: settings in, a running server out. The only place that knows concrete classes; what tests start."""

from __future__ import annotations

import contextlib
import threading
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.internal import api_implementation
from starlette.types import ASGIApp

from postil import descriptors, guards, logs, processors, services
from postil.access import DEFAULT_APP, DEFAULT_USER, Access, Credentials
from postil.config import Address, Config, ConfigError
from postil.core import concept_names, model_parts
from postil.core.apps import Apps
from postil.core.chores import Chores
from postil.core.downloads import Downloads
from postil.core.evaluating import Evaluating
from postil.core.hosting import Hosted, Hosting
from postil.core.intake import Intake
from postil.core.opening import Opening
from postil.core.processing import Processing
from postil.core.rehosting import rehost
from postil.core.search_log import SearchLog
from postil.core.trouble import failure_of
from postil.doors.http import gateway as gateways
from postil.doors.http import routes, site
from postil.doors.http.gateway import Gateway
from postil.doors.http.server import HttpDoor
from postil.doors.rpc import audited, methods
from postil.doors.rpc import server as rpc
from postil.doors.rpc.dispatcher import Dispatcher
from postil.doors.rpc.limits import Limits, Rates
from postil.embed.onnx_model import UserModel
from postil.embed.packaged import Unusable
from postil.embed.registry import ModelRegistry
from postil.errors import Failure
from postil.index.base import Plan
from postil.index.catalogs import Catalogs
from postil.index.manager import IndexManager
from postil.media.decoders import Budget, Decoders
from postil.media.fetch import Fetcher
from postil.media.thumbnails import Thumbnails
from postil.metrics import Metrics
from postil.services import Rooms
from postil.store import layout
from postil.store.base import Corrupt, WriteFailed
from postil.store.layout import Unfinished
from postil.store.lock import DirectoryInUse
from postil.store.migrations import NewerSchema
from postil.store.sqlite import SqliteStore

INDEX = layout.INDEX
THUMBNAILS = "thumbnails"  # the same

log = logs.get(__name__)


_PRESSURE = 0.9  # of the index; above it, loading waits
_EAGER = 2  # threads that read, at least: one that is held up must not hold up all


class Listening(NamedTuple):
    """Where the doors are, with the real ports."""

    grpc: Address
    http: Address


class _Room(Protocol):
    """What has threads or files of its own."""

    def close(self) -> None: ...


Closable = TypeVar("Closable", bound=_Room)


class App:
    """One server: data directory, rooms, doors.

    Args:
        config: The settings.
    """

    # What `start` raises when the fault is in the settings or the machine; the text is for the person who starts it.
    refusals = (ConfigError, Corrupt, DirectoryInUse, NewerSchema, Unfinished, Unusable, WriteFailed)

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ready = threading.Event()
        self._closing = contextlib.ExitStack()
        self._afterwards: list[Callable[[], object]] = []  # what begins once calls are welcome
        self._explain: Callable[[Exception], BaseException] = lambda error: error
        self._suspect: Callable[[BaseException], BaseException] = lambda error: error
        self._look: Callable[[Exception], BaseException] = lambda error: error
        self._forget_thumbnails: Callable[[], object] = lambda: None
        self._erase: Callable[[], object] = lambda: None
        self._connections = descriptors.shares(descriptors.limit())
        self.metrics = Metrics()
        self._walked = {plan: self.metrics.walks.labels(plan.value) for plan in Plan}

    def start(self) -> Listening:
        """Opens everything, from the disk up, and returns when calls are welcome.

        Raises:
            One of `refusals`: It cannot be; call `stop` all the same.
        """
        try:
            return self._start()
        except Exception as error:  # noqa: BLE001 - raised again, in words that help
            raise (error if isinstance(error, self.refusals) else self._suspect(error))  # noqa: B904 - it has its cause

    def _start(self) -> Listening:
        config, on_stop = self._config, self._closing.callback
        if api_implementation.Type() != "upb":
            raise ConfigError("protobuf runs without its native part, twenty times slower: reinstall protobuf")
        store = SqliteStore(config.data_dir, room=config.max_message_mb << 20)
        on_stop(store.close)
        self._explain, self._suspect, self._look = store.health.explain, store.health.suspect, store.health.look
        credentials, tls = guards.credentials(config, store), guards.certificates(config)
        gateway = self._gateway()
        decoders = self._own(self._decoders())
        pages = self._pages(store, decoders, credentials)
        whole = guards.hosts(site.build(gateway, pages, config.cors_origins), config, credentials)
        http = HttpDoor(whole, tls.http() if tls else None, self._connections.http)
        on_stop(http.stop)
        http_at = Address(config.http.host, http.listen(config.http))
        index = _index(config.data_dir, store)
        on_stop(index.close)
        self._chores(store, index)
        hosting = Hosting(config.public_url or f"{'https' if tls else 'http'}://{http_at}")
        rehost(store, hosting)
        concept_names.finish(store)
        catalogs = Catalogs(store, config.data_dir / INDEX, store.schema)
        on_stop(catalogs.close)
        dispatcher = self._dispatcher(store, index, catalogs, hosting, Opening(decoders), credentials)
        grpc = rpc.build(dispatcher, methods.table(), self._limits())
        on_stop(grpc.stop, config.drain_s)
        dispatcher.admit(calls=False)
        gateway.open(dispatcher.call)
        on_stop(gateway.close)
        grpc_at = Address(config.grpc.host, grpc.listen(config.grpc, tls.grpc() if tls else None))
        index.start()
        catalogs.start()
        dispatcher.admit(calls=True)
        grpc.set_ready(ready=True)
        self._ready.set()
        on_stop(self._ready.clear)
        for begin in self._afterwards:
            begin()
        log.info("ready", grpc=str(grpc_at), http=str(http_at), data_dir=str(config.data_dir))
        return Listening(grpc_at, http_at)

    def stop(self) -> None:
        """Takes no new calls, lets the running ones finish for `drain_s`, closes everything. Safe to call twice."""
        self._closing.close()

    def _own(self, room: Closable) -> Closable:
        """The room, to be closed when the server stops."""
        self._closing.callback(room.close)
        return room

    def _dispatcher(
        self,
        store: SqliteStore,
        index: IndexManager,
        catalogs: Catalogs,
        hosting: Hosting,
        opening: Opening,
        credentials: Credentials,
    ) -> Dispatcher:
        config, own = self._config, self._own
        threads = config.embed_threads or processors.count()
        embedders = own(ModelRegistry(config.data_dir, threads, user_models(config)))
        downloads = Downloads(Fetcher(map(str, config.fetch_allow)).fetch, store.blobs, hosting)
        intake = own(Intake(store.blobs, embedders, hosting, opening))
        processing = own(Processing(store, intake, downloads))
        apps = Apps(store, self._erase)
        apps.resolve(DEFAULT_USER, DEFAULT_APP, create=True)
        access = Access(apps, credentials)
        search_log = own(SearchLog(store, config.search_log_days, self.metrics.searches_dropped.inc))
        models = model_parts.build(store, index, embedders, downloads, opening, delete_all=config.delete_all)
        own(models.outputs), own(models.inputs), own(models.training)
        evaluating = own(Evaluating(store))
        rooms = Rooms(
            *(store, index, catalogs, embedders, hosting, opening, downloads, intake, search_log, models),
            wake=processing.wake,
            evaluate=evaluating.wake,
            room=partial(index.wait_below, _PRESSURE),
            observe=self._count_walk,
            apps=apps,
            access=access,
            methods=methods.table(),
            delete_all=config.delete_all,
        )
        limits = Limits(config.max_calls, config.max_inflight_mb << 20, config.max_message_mb << 20)
        self._gauges(store, index, limits)
        # Beside the first calls, not before them: a server that was killed must answer again at once.
        begins = (processing, search_log, models.outputs, models.training, evaluating)
        self._afterwards += [*(one.start for one in begins), embedders.warm]
        handlers, rates = rpc.handlers(services.servicers(rooms), rooms.methods), Rates(config.rate_limit)
        return Dispatcher(rooms.methods, handlers, access, limits, self.metrics, self._trouble, self._note(), rates)

    def _chores(self, store: SqliteStore, index: IndexManager) -> None:
        """What goes on behind calls. Media are swept once all pages were looked through."""
        made = self._own(Chores(store, lambda: not store.health.damage, self._forget_thumbnails))

        def sound() -> None:
            index.mend()
            made.sweep_soon()

        self._afterwards += [made.start, self._own(store.checker(sound)).start]
        self._erase = made.wake

    def _gateway(self) -> Gateway:
        config = self._config
        limits = gateways.Limits(
            config.threads, config.max_message_mb << 20, config.max_inflight_mb << 20, config.max_calls
        )
        return Gateway(methods.table(), limits, config.cors_origins)

    def _decoders(self) -> Decoders:
        config = self._config
        budget = Budget(memory=config.decoder_memory_mb << 20)
        count = config.decoders or processors.count()
        made = Decoders(count, budget=budget, report=lambda why: log.warning("decoder_lost", reason=why))
        self.metrics.watch("postil_decoders_lost", "Decoders that a picture took with it.", lambda: made.lost)
        self._afterwards.append(made.start)
        return made

    def _pages(self, store: SqliteStore, decoders: Decoders, credentials: Credentials) -> ASGIApp:
        thumbnails = Thumbnails(self._config.data_dir / THUMBNAILS, decoders)
        self._forget_thumbnails = partial(thumbnails.sweep, lambda digest: store.blobs.path(digest) is not None)
        self._forget_thumbnails()
        hosted = Hosted(store.blobs).path
        return routes.build(self._ready.is_set, self.metrics, hosted, thumbnails.path, credentials.caller)

    def _limits(self) -> rpc.Limits:
        config = self._config
        room = config.max_inflight_mb << 20
        return rpc.Limits(
            *(config.threads, config.max_calls, config.max_message_mb << 20, room, room // 4, self._connections.grpc),
            eager=max(_EAGER, processors.count()),
        )

    def _note(self) -> Callable[[audited.Entry], object] | None:
        audit = guards.audit(self._config, self.metrics)
        return self._own(audit).note if audit else None

    def _trouble(self, error: Exception) -> Failure | None:
        return failure_of(self._explain(error)) or failure_of(self._look(error))

    def _count_walk(self, plan: Plan) -> None:
        self._walked[plan].inc()

    def _gauges(self, store: SqliteStore, index: IndexManager, limits: Limits) -> None:
        watch = self.metrics.watch
        watch("postil_calls_running", "Calls worked on right now.", lambda: limits.running)
        watch("postil_request_bytes_running", "Bytes of the requests worked on right now.", lambda: limits.bytes)
        watch("postil_store_sequence", "Newest durable change.", lambda: store.committed)
        watch("postil_store_damaged", "1 once damage of the database was met.", lambda: bool(store.health.damage))
        watch("postil_vectors_lost", "Damaged vectors that no search finds.", index.lost)
        watch("postil_index_sequence", "Newest change in the index.", lambda: index.applied)


def _index(data_dir: Path, store: SqliteStore) -> IndexManager:
    return IndexManager(data_dir / INDEX, store)


def user_models(config: Config) -> Sequence[UserModel]:
    """The `[[model]]` tables of the file that `models` names; paths are relative to that file.

    Raises:
        ConfigError: The file or a table cannot be used.
    """
    if config.models is None:
        return []
    try:
        tables = tomllib.loads(config.models.read_text()).get("model", [])
        return [UserModel.from_table(_beside(config.models, table)) for table in tables]
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"--models {config.models}: {error}") from error


def _beside(file: Path, table: dict[str, object]) -> dict[str, object]:
    paths: dict[str, object] = {key: file.parent / str(table[key]) for key in ("path", "tokenizer") if key in table}
    return {**table, **paths}
