"""Pages of lists and searches: defaults, caps, and clear answers to numbers that cannot be meant."""

import pytest

from postil.core import pages
from postil.errors import Failure
from postil.v1.common_pb2 import Pagination
from postil.v1.status_code_pb2 import StatusCode


@pytest.mark.parametrize(
    ("asked", "offset", "limit"),
    [((0, 0), 0, 128), ((1, 10), 0, 10), ((3, 10), 20, 10), ((0, 1000), 0, 1000), ((2, 0), 128, 128)],
)
def test_pages_of_a_list(asked: tuple[int, int], offset: int, limit: int) -> None:
    page = pages.of_list(*asked)
    assert (page.offset, page.limit) == (offset, limit)


def test_a_list_may_have_its_own_default() -> None:
    assert pages.of_list(0, 0, default=20) == (1, 20)


def test_a_page_far_past_the_end_is_not_an_error() -> None:
    assert pages.of_list(1_000_000, 1000).offset == 999_999_000


def test_too_many_items_on_a_page() -> None:
    with pytest.raises(Failure) as caught:
        pages.of_list(1, 1001)
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST
    assert "per_page is 1001" in caught.value.details
    assert "1000" in caught.value.details


@pytest.mark.parametrize("asked", [(-1, 10), (2**32 - 1, 10), (1, 2**32 - 5), (2**31, 1)])
def test_negative_numbers_are_named_as_such(asked: tuple[int, int]) -> None:
    with pytest.raises(Failure) as caught:
        pages.of_list(*asked)
    assert caught.value.code == StatusCode.CONN_INVALID_REQUEST
    assert "-" in caught.value.details
    assert "signed" in caught.value.details


def test_pages_of_a_search() -> None:
    assert pages.of_search(Pagination()) == (1, 128)
    assert pages.of_search(Pagination(page=10, per_page=1000)) == (10, 1000)


@pytest.mark.parametrize("asked", [(11, 1000), (10_001, 1), (79, 0), (1, 20_000)])
def test_a_search_does_not_go_below_the_limit(asked: tuple[int, int]) -> None:
    with pytest.raises(Failure) as caught:
        pages.of_search(Pagination(page=asked[0], per_page=asked[1]))
    assert caught.value.code == StatusCode.SEARCH_INVALID_REQUEST
    assert "page * perPage cannot exceed 10000" in caught.value.details


@pytest.mark.parametrize("asked", [(1, 1001), (2**32 - 1, 10), (1, 2**32 - 1)])
def test_bad_numbers_in_a_search_have_the_code_of_searches(asked: tuple[int, int]) -> None:
    with pytest.raises(Failure) as caught:
        pages.of_search(Pagination(page=asked[0], per_page=asked[1]))
    assert caught.value.code == StatusCode.SEARCH_INVALID_REQUEST
    assert "page * perPage" not in caught.value.details
