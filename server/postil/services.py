"""What every RPC of every service is answered by: part of the composition root, over the rooms that `app.py` opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postil.access import Access
from postil.core.annotation_filters import AnnotationFilters
from postil.core.annotations import Annotations
from postil.core.apps import Apps, Users
from postil.core.codes import StatusCodes
from postil.core.concept_languages import ConceptLanguages
from postil.core.concepts import Concepts
from postil.core.dataset_inputs import DatasetInputs
from postil.core.dataset_versions import DatasetVersions
from postil.core.datasets import Datasets
from postil.core.downloads import Downloads
from postil.core.evaluations import Evaluations
from postil.core.feedback import Feedbacks
from postil.core.hosting import Hosting
from postil.core.inputs import Inputs
from postil.core.intake import Intake
from postil.core.keys import Keys
from postil.core.knowledge_graphs import KnowledgeGraphs
from postil.core.learning import Learning
from postil.core.model_parts import ModelParts
from postil.core.opening import Opening
from postil.core.query_vectors import QueryVectors
from postil.core.relations import Relations
from postil.core.saved_searches import SavedSearches
from postil.core.search import Searches
from postil.core.search_calls import SearchCalls
from postil.core.search_log import SearchLog
from postil.core.search_quality import Quality
from postil.core.suggesting import Suggesting
from postil.doors.rpc.annotations import AnnotationsServicer
from postil.doors.rpc.apps import AppsServicer, UsersServicer
from postil.doors.rpc.concepts import ConceptsServicer
from postil.doors.rpc.datasets import DatasetsServicer
from postil.doors.rpc.evaluations import EvaluationsServicer
from postil.doors.rpc.feedback import FeedbackServicer
from postil.doors.rpc.inputs import InputsServicer
from postil.doors.rpc.keys import KeysServicer
from postil.doors.rpc.methods import Method
from postil.doors.rpc.models import ModelsServicer
from postil.doors.rpc.searches import SearchesServicer
from postil.doors.rpc.status_codes import StatusCodesServicer
from postil.doors.rpc.suggestions import SuggestionsServicer
from postil.doors.rpc.workflows import WorkflowsServicer
from postil.embed.registry import ModelRegistry
from postil.index.base import Plan
from postil.index.catalogs import Catalogs
from postil.index.manager import IndexManager
from postil.store.sqlite import SqliteStore


@dataclass(frozen=True)
class Rooms:
    """What the services work on; all of it open.

    Args:
        wake: Says that inputs are pending.
        evaluate: Says that an evaluation waits.
        room: Waits, at most so many seconds, until the index can take more.
        observe: Told of the plan of each walk through an index.
        methods: Every RPC by name.
        delete_all: Whether calls may delete all of an app's inputs or models at once.
    """

    store: SqliteStore
    index: IndexManager
    catalogs: Catalogs
    embedders: ModelRegistry
    hosting: Hosting
    opening: Opening
    downloads: Downloads
    intake: Intake
    search_log: SearchLog
    models: ModelParts
    wake: Callable[[], None]
    evaluate: Callable[[], None]
    room: Callable[[float], object]
    observe: Callable[[Plan], None]
    apps: Apps
    access: Access
    methods: Mapping[str, Method]
    delete_all: bool


def servicers(rooms: Rooms) -> list[object]:
    """One for each service."""
    return [*_searching(rooms), *_keeping(rooms), *_describing(rooms)]


def _searching(rooms: Rooms) -> list[object]:
    """Searches, what they teach, and what takes their hits."""
    store, models, learning = rooms.store, rooms.models, Learning(rooms.store)
    query_vectors = QueryVectors(rooms.embedders, rooms.downloads, rooms.opening)
    searches = Searches(
        *(store, rooms.index, rooms.catalogs, query_vectors, rooms.observe, rooms.search_log, learning, models.shelf)
    )
    saved = SavedSearches(store)
    feedbacks = Feedbacks(store, rooms.search_log, models.outputs, searches.trail, learning, models.models)
    return [
        DatasetsServicer(Datasets(store), DatasetInputs(store, searches), DatasetVersions(store, searches)),
        FeedbackServicer(feedbacks, Quality(store, rooms.index, learning)),
        SearchesServicer(SearchCalls(searches, saved, rooms.search_log), saved, AnnotationFilters(store)),
    ]


def _keeping(rooms: Rooms) -> list[object]:
    """Inputs, and what people and models say of them."""
    store, models = rooms.store, rooms.models
    return [
        AnnotationsServicer(Annotations(store, rooms.embedders, rooms.hosting, rooms.opening)),
        EvaluationsServicer(Evaluations(store, rooms.evaluate)),
        InputsServicer(Inputs(store, rooms.intake, rooms.wake, rooms.room, delete_all=rooms.delete_all)),
        ModelsServicer(models.models, models.predicting, models.own, models.versions),
        SuggestionsServicer(Suggesting(store)),
        WorkflowsServicer(models.workflows, models.results),
    ]


def _describing(rooms: Rooms) -> list[object]:
    """Apps, their words, and who may do what."""
    store = rooms.store
    return [
        AppsServicer(rooms.apps, rooms.access),
        ConceptsServicer(Concepts(store), ConceptLanguages(store), Relations(store), KnowledgeGraphs(store)),
        KeysServicer(Keys(store, store.key_stamp, rooms.methods)),
        StatusCodesServicer(StatusCodes()),
        UsersServicer(Users(store)),
    ]
