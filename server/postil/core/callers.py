"""Who calls, as far as core wants to know: whose key it is, and what the key may do."""

from __future__ import annotations

from dataclasses import dataclass

from postil.core.scopes import ALL, Rule
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode

_EVERYTHING = frozenset({ALL})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as the credentials say. The defaults are those of a caller who needs no key."""

    user_id: str  # stands for "me" and for an empty user id
    app_id: str  # stands for an empty app id; "" when nothing does
    may_create_apps: bool  # by naming one that does not exist yet
    key_id: str = ""  # "" when no key was asked for
    app_only: bool = False  # may act in `app_id` alone
    scopes: frozenset[str] = _EVERYTHING
    calls: frozenset[str] = frozenset()  # RPCs that may be made whatever the scopes say
    expires_us: int = 0  # 0: never

    def has(self, scope: str) -> bool:
        """Whether the key has a scope, by name or because it may do everything."""
        return scope in self.scopes or ALL in self.scopes

    def may(self, name: str, rule: Rule) -> bool:
        """Whether the key may make a call, as far as scopes go."""
        return ALL in self.scopes or rule.scopes <= self.scopes or name in self.calls

    def check(self, name: str, rule: Rule) -> None:
        """Lets a call of this name pass, or raises Failure (CONN_INSUFFICIENT_SCOPES) that says what is missing."""
        if rule.personal and self.app_only:
            raise _insufficient(f"{name} needs a personal access token; this is the key of one app.")
        if not self.may(name, rule):
            raise lacking(sorted(rule.scopes - self.scopes), f"{name} needs")

    def require(self, scope: str, why: str) -> None:
        """For what only the content of a call shows. `why`: for example "a query by picture needs"."""
        if not self.has(scope):
            raise lacking([scope], why)


def lacking(scopes: list[str], why: str) -> Failure:
    """The failure of a call whose key lacks these scopes."""
    return _insufficient(
        f"The key lacks scopes that {why}: {', '.join(scopes)}. Give it those with PatchKeys, or use another key."
    )


def _insufficient(details: str) -> Failure:
    return Failure(StatusCode.CONN_INSUFFICIENT_SCOPES, details)


ANYBODY = Caller("", "", may_create_apps=True)
