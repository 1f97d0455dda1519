"""The table of status codes as clients read it."""

import pytest

from postil.core.codes import StatusCodes
from postil.errors import Failure
from postil.v1.status_code_pb2 import StatusCode
from postil.v1.status_service_pb2 import GetStatusCodeRequest, ListStatusCodesRequest
from support import nouns

CALL = nouns.call(None)


def test_the_list_tells_every_code_once_and_in_order() -> None:
    response = StatusCodes().list(CALL, ListStatusCodesRequest())
    assert response.status.code == StatusCode.SUCCESS
    numbers = [status.code for status in response.statuses]
    assert numbers == sorted(set(StatusCode.values()))
    assert all(status.description and status.developer_notes for status in response.statuses)


@pytest.mark.parametrize("asked", ["30100", "INPUT_DUPLICATE", " 30100 "])
def test_a_code_is_found_by_number_and_by_name(asked: str) -> None:
    status = StatusCodes().get(CALL, GetStatusCodeRequest(status_code_id=asked)).status
    assert status.code == StatusCode.INPUT_DUPLICATE
    assert status.description == "Duplicate input"
    assert status.developer_notes == "INPUT_DUPLICATE"


def test_aliases_of_a_number_are_the_same_code() -> None:
    status = StatusCodes().get(CALL, GetStatusCodeRequest(status_code_id="INPUT_DOWNLOAD_SUCCESS")).status
    assert (status.code, status.description) == (StatusCode.INPUT_SUCCESS, "Download complete")


@pytest.mark.parametrize("asked", ["", "1", "-1", "99999999999999999999", "NO_SUCH", "１０", "x" * 10_000, "1e4"])
def test_an_unknown_code_does_not_exist(asked: str) -> None:
    with pytest.raises(Failure) as caught:
        StatusCodes().get(CALL, GetStatusCodeRequest(status_code_id=asked))
    assert caught.value.code == StatusCode.CONN_DOES_NOT_EXIST
    assert len(caught.value.details) < 200
