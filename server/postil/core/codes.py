"""The status codes themselves, as data: what each number is called and means."""

from __future__ import annotations

from postil.core import statuses
from postil.core.call import Call
from postil.errors import missing
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_service_pb2 import (
    GetStatusCodeRequest,
    ListStatusCodesRequest,
    MultiStatusCodeResponse,
    SingleStatusCodeResponse,
)


class StatusCodes:
    """Needs no app and no credentials."""

    def list(self, call: Call, request: ListStatusCodesRequest) -> MultiStatusCodeResponse:  # noqa: ARG002 - as all verbs
        """Every code once, by number. Of names that share a number the first one is told."""
        listed = [statuses.status(code, notes=_name(code)) for code in sorted(statuses.TABLE)]
        return MultiStatusCodeResponse(status=statuses.status(StatusCode.SUCCESS), statuses=listed)

    def get(self, call: Call, request: GetStatusCodeRequest) -> SingleStatusCodeResponse:  # noqa: ARG002 - as all verbs
        """The code itself is the answer's status, as the contract has it.

        Args:
            call: Not used.
            request: `status_code_id` is a number or a name: "30100" or "INPUT_DUPLICATE".

        Raises:
            Failure: CONN_DOES_NOT_EXIST for a code that is not in the table.
        """
        asked = request.status_code_id.strip()
        named = StatusCode.DESCRIPTOR.values_by_name.get(asked)
        code = StatusCode.ValueType(named.number) if named else _number(asked)
        if code not in statuses.TABLE:
            shown = asked if len(asked) <= 60 else f"{asked[:60]}…"
            raise missing(f"There is no status code {shown!r}; ListStatusCodes tells which there are.")
        return SingleStatusCodeResponse(status=statuses.status(code, notes=_name(code)))


def _name(code: StatusCode.ValueType) -> str:
    return StatusCode.Name(code)


def _number(text: str) -> StatusCode.ValueType:
    """The number that the text is; -1, which no code has, for other texts."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 9
    return StatusCode.ValueType(int(text) if plain else -1)
