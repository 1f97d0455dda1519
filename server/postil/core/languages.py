"""Languages of concept names: which one counts, and finding a concept by what it is called there.

Every concept has its own name, in the app's default language. In any other language it goes by the name that was given
for it (`core/concept_languages.py`), or by its own where none was.
"""

from __future__ import annotations

import re

from postil.core import ids
from postil.core.app_fields import DEFAULT_LANGUAGE
from postil.errors import Failure
from postil.store.base import AppRecord, ConceptRecord, Queries
from postil.v1.app_pb2 import App
from postil.v1.status_code_pb2 import StatusCode

_CODE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")  # the shape of BCP 47, as in "ja" and "zh-TW"


def own(app: AppRecord) -> str:
    """The app's default language, which its concepts' own names are in."""
    return App.FromString(app.message).default_language or DEFAULT_LANGUAGE


def problem(language: str) -> str:
    """What is wrong with a language code, to be put after it; "" when nothing is."""
    return "" if _CODE.fullmatch(language) else 'is no language code; use one like "ja" or "zh-TW"'


def check(language: str, where: str, code: StatusCode.ValueType) -> None:
    """Raises Failure with the code when the language is no language code."""
    wrong = problem(language)
    if wrong:
        raise Failure(code, f"{where}: the language {ids.shown(language)} {wrong}.")


def foreign(app: AppRecord, *wanted: str) -> str:
    """The first of these languages that is said at all; "" when none is, or it is the app's own.

    Args:
        app: The app.
        wanted: From the most particular place to the most general one: of the concept, of the query.
    """
    language = next(filter(None, wanted), "")
    return "" if not language or language == own(app) else language


def find(queries: Queries, app: AppRecord, name: str, language: str) -> list[ConceptRecord]:
    """The concepts with exactly this name, in order of creation.

    Args:
        queries: Reads.
        app: The app.
        name: The name.
        language: As `foreign` gives it.
    """
    if not language:
        return queries.concepts_by_name(app.row, name)
    return queries.concepts_named_in(app.row, language, name)
