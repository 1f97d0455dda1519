"""Lists of models: filtered and ordered as asked, one page at a time. There are few, so all are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from postil.core import model_types, pages
from postil.errors import Failure
from postil.v1.common_pb2 import Visibility
from postil.v1.model_pb2 import Model, ModelType
from postil.v1.model_service_pb2 import ListModelsRequest
from postil.v1.status_code_pb2 import StatusCode

MAX_TEXT = 256  # characters of a filter

_TEXTS = ("name", "search", "query")
_UNSUPPORTED = (
    "license", "featured_only", "starred_only", "toolkits", "use_cases", "languages", "bookmark", "source", "creator",
    "min_replicas", "sort_by_num_inputs", "sort_by_star_count", "sort_by_relevance",
)  # fmt: skip
_ORDERS: dict[str, Callable[[Model], Any]] = {
    "sort_by_name": lambda model: (model.name.casefold(), model.id),
    "sort_by_created_at": lambda model: model.created_at.ToMicroseconds(),
    "sort_by_modified_at": lambda model: model.modified_at.ToMicroseconds(),
}
_UNLISTED = ModelType()  # of a model that is known by name only


def page(models: Iterable[Model], user_id: str, request: ListModelsRequest) -> Sequence[Model]:
    """One page of the models, in the order given unless the request asks for another.

    `model_type_id` and `model_version_ids` are exact. `name` matches the id or the name, with `*` for any text or,
    without one, anywhere in it; `search` and `query` look into the description, too; case does not matter.
    `input_fields` and `output_fields` keep models that take or give all of these. With `sort_by_…` the order is
    descending unless `sort_ascending` is set. `trained_only` keeps models whose newest version is trained.

    Raises:
        Failure: CONN_INVALID_REQUEST for a page out of range; MODEL_INVALID_REQUEST for a filter or an order that is
            not supported.
    """
    wanted = pages.of_list(request.page, request.per_page)
    _check(request)
    found = [model for model in models if _matches(model, user_id, request)]
    order = request.WhichOneof("sort_by")
    if order and getattr(request, order):
        found.sort(key=_ORDERS[order], reverse=not request.sort_ascending)
    return found[wanted.offset : wanted.offset + wanted.limit]


def _check(request: ListModelsRequest) -> None:
    unsupported = [name for name in _UNSUPPORTED if getattr(request, name)]
    if unsupported:
        raise _refuse(f"{unsupported[0]} is not supported; leave it out.")
    for name in _TEXTS:
        length = len(getattr(request, name))
        if length > MAX_TEXT:
            raise _refuse(f"{name} has {length} characters; use at most {MAX_TEXT}.")
    if request.visibility.gettable == Visibility.ORG:
        raise _refuse("visibility ORG is unknown here; use PRIVATE or PUBLIC, or leave it out.")


def _matches(model: Model, user_id: str, request: ListModelsRequest) -> bool:
    described, kind = (
        f"{model.id}\n{model.name}\n{model.description}",
        model_types.BY_ID.get(model.model_type_id, _UNLISTED),
    )
    return (
        request.model_type_id in {"", model.model_type_id}
        and (not request.trained_only or model.model_version.status.code == StatusCode.MODEL_TRAINED)
        and (not request.model_version_ids or model.model_version.id in request.model_version_ids)
        and (not request.filter_by_user_id or model.user_id == user_id)
        and request.visibility.gettable in {Visibility.UNKNOWN_VISIBILITY, model.visibility.gettable}
        and set(request.input_fields) <= set(kind.input_fields)
        and set(request.output_fields) <= set(kind.output_fields)
        and (_like(model.id, request.name) or _like(model.name, request.name))
        and request.search.casefold() in described.casefold()
        and request.query.casefold() in described.casefold()
    )


def _like(text: str, pattern: str) -> bool:
    text, pattern = text.casefold(), pattern.casefold()
    if "*" not in pattern:
        return pattern in text
    literal = pattern.replace("[", "[[]").replace("?", "[?]")  # only `*` is special
    return fnmatchcase(text, literal)


def _refuse(details: str) -> Failure:
    return Failure(StatusCode.MODEL_INVALID_REQUEST, details)
