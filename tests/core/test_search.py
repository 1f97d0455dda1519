"""Searches over the real store: order, scores, pages, spaces and refusals."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from postil.errors import Failure
from postil.index.base import Plan
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import MultiSearchResponse, PostAnnotationsSearchesRequest, PostInputsSearchesRequest
from postil.v1.status_code_pb2 import StatusCode
from support.search_world import World, ids, like, near, ranked, scores

E, N, W, S = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)
NE = (0.6, 0.8)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "data")
    yield made
    made.store.close()


@pytest.fixture
def compass(world: World) -> World:
    for name, vector in {"west": W, "east": E, "north": N, "northeast": NE}.items():
        world.add(name, vector)
    return world


def refused(world: World, search: Search, code: int = StatusCode.SEARCH_INVALID_REQUEST) -> str:
    with pytest.raises(Failure) as failure:
        world.annotations(search)
    assert failure.value.code == code
    return failure.value.details


def test_nearest_first_with_scores_from_one_to_zero(compass: World) -> None:
    answer = compass.annotations(ranked(near(E)))
    assert ids(answer) == ["east", "northeast", "north", "west"]
    assert scores(answer) == pytest.approx([1.0, 0.8, 0.5, 0.0])


def test_hits_are_complete(compass: World) -> None:
    answer = compass.annotations(ranked(near(E)), per_page=1)
    hit = answer.hits[0]
    assert (hit.user_id, hit.app_id, hit.input.id, hit.annotation.input_id) == ("me", "photos", "east", "east")
    assert answer.status.code == StatusCode.SUCCESS
    assert answer.status.req_id == "request-1"
    assert len(answer.id) == 32
    assert answer.id != compass.annotations(ranked(near(E))).id


def test_both_metrics_agree_on_unit_vectors(compass: World) -> None:
    by_cosine = compass.annotations(ranked(near(NE), metric=Search.COSINE_DISTANCE))
    by_euclid = compass.annotations(ranked(near(NE), metric=Search.EUCLIDEAN_DISTANCE))
    assert ids(by_cosine) == ids(by_euclid)
    assert scores(by_cosine) == pytest.approx(scores(by_euclid))


def test_the_length_of_the_query_does_not_matter_among_unit_vectors(compass: World) -> None:
    assert scores(compass.annotations(ranked(near((500.0, 0.0))))) == pytest.approx([1.0, 0.8, 0.5, 0.0])


def test_metrics_differ_on_vectors_of_any_length(world: World) -> None:
    world.add("far-ahead", (10.0, 0.0))
    world.add("beside", (1.0, 1.0))
    assert ids(world.annotations(ranked(near((1.0, 0.0))))) == ["beside", "far-ahead"]
    assert scores(world.annotations(ranked(near((1.0, 0.0))))) == pytest.approx([1 / 2, 1 / 10])
    by_cosine = world.annotations(ranked(near((1.0, 0.0)), metric=Search.COSINE_DISTANCE))
    assert ids(by_cosine) == ["far-ahead", "beside"]
    assert scores(by_cosine) == pytest.approx([1.0, (1 + 0.5**0.5) / 2])


@pytest.mark.parametrize("metric", [Search.EUCLIDEAN_DISTANCE, Search.COSINE_DISTANCE])
@pytest.mark.parametrize("length", [1.0, 3.0])
def test_negate_is_the_exact_reverse(world: World, metric: Search.Metric.ValueType, length: float) -> None:
    rng = np.random.default_rng(1)
    for i in range(20):
        vector = rng.standard_normal(4)
        world.add(f"i{i}", vector / np.linalg.norm(vector) * (length if i % 2 else 1.0))
    query = rng.standard_normal(4)
    forward = world.annotations(ranked(near(query), metric=metric))
    backward = world.annotations(ranked(near(query, negate=True), metric=metric))
    assert ids(backward) == ids(forward)[::-1]
    assert scores(backward) == pytest.approx([1 - score for score in reversed(scores(forward))], abs=1e-5)
    first = world.annotations(ranked(near(query, negate=True), metric=metric), per_page=3)
    assert ids(first) == ids(backward)[:3]


def test_ties_go_to_the_older(world: World) -> None:
    for i in range(5):
        world.add(f"i{i}", E)
    assert ids(world.annotations(ranked(near(E)))) == [f"i{i}" for i in range(5)]


def test_min_value_cuts(compass: World) -> None:
    assert ids(compass.annotations(ranked(near(E), min_value=0.5))) == ["east", "northeast", "north"]
    assert ids(compass.annotations(ranked(near(E), min_value=0.9))) == ["east"]
    assert ids(compass.annotations(ranked(near(E), min_value=1.5))) == []


def test_pages_are_cut_from_one_list(world: World) -> None:
    rng = np.random.default_rng(2)
    for i in range(57):
        world.add(f"i{i}", rng.standard_normal(4))
        if i % 3 == 0:
            world.region(f"i{i}")
    search = ranked(near((1.0, 2.0, 3.0, 4.0)))
    whole = [hit.annotation.id for hit in world.annotations(search, per_page=1000).hits]
    assert len(whole) == len(set(whole)) == 57 + 19
    for per_page in (1, 7, 10, 64):
        pages = [world.annotations(search, page, per_page) for page in range(1, 76 // per_page + 2)]
        assert [hit.annotation.id for page in pages for hit in page.hits] == whole
    assert ids(world.annotations(search, 9, 10)) == []


def test_too_deep_a_page_is_refused_in_the_words_clients_look_for(world: World) -> None:
    with pytest.raises(Failure, match="page \\* perPage cannot exceed 10000"):
        world.annotations(Search(), page=11, per_page=1000)


def test_every_annotation_is_a_hit_but_each_input_is_one(world: World) -> None:
    world.add("plain", E)
    world.region("plain", N)
    world.region("plain")
    world.add("other", NE)
    assert ids(world.annotations(ranked(near(E)))) == ["plain", "plain", "other", "plain"]
    answer = world.inputs(ranked(near(N)))
    assert ids(answer) == ["plain", "other"]
    assert answer.hits[0].annotation.id == "annotation-2"  # the region is the best of its input
    assert scores(answer) == pytest.approx([1.0, 0.9])


def test_an_input_with_many_near_regions_does_not_crowd_others_out(world: World) -> None:
    world.add("crowd", N)
    for _ in range(60):
        world.region("crowd", E)
    world.add("lone", S)
    assert ids(world.inputs(ranked(near(E)), per_page=2)) == ["crowd", "lone"]
    assert ids(world.inputs(ranked(near(E)), page=2, per_page=1)) == ["lone"]
    assert ids(world.inputs(ranked(near(E)), page=3, per_page=1)) == []


def test_without_a_rank_everything_comes_in_order_of_creation(compass: World) -> None:
    compass.region("west", N)
    for search in (Search(), ranked(Rank()), Search(query=Query())):
        answer = compass.annotations(search)
        assert ids(answer) == ["west", "east", "north", "northeast", "west"]
        assert set(scores(answer)) == {1.0}
        assert ids(compass.inputs(search)) == ["west", "east", "north", "northeast"]
    assert ids(compass.annotations(Search(), page=2, per_page=2)) == ["north", "northeast"]
    assert ids(compass.inputs(Search(), page=2, per_page=3)) == ["northeast"]
    assert ids(compass.inputs(Search(min_value=1.1))) == []


def test_by_input_uses_the_mean_of_its_vectors(world: World) -> None:
    world.add("both", E)
    world.region("both", N)
    world.add("between", (0.7071068, 0.7071068))
    world.add("opposite", W)
    answer = world.inputs(ranked(like("both")))
    assert ids(answer) == ["between", "both", "opposite"]
    assert answer.hits[0].score == pytest.approx(1.0, abs=1e-6)


def test_by_input_prefers_its_picture(world: World) -> None:
    world.add("a", E, space="picture-version", kind="picture")
    world.add("b", N, space="picture-version", kind="picture")
    world.region("a", N, space="client")
    answer = world.annotations(ranked(like("a")))
    assert ids(answer) == ["a", "b"]
    rank = like("a")
    rank.annotation.embed_model_version_id = "client"
    assert ids(world.annotations(ranked(rank))) == ["a"]


def test_an_input_that_is_not_there_or_not_indexed_is_refused(world: World) -> None:
    world.add("pending")
    assert "'nobody'" in refused(world, ranked(like("nobody")))
    assert "'pending'" in refused(world, ranked(like("pending")), StatusCode.SEARCH_BY_NOT_FULLY_INDEXED_INPUT)


def test_vectors_that_cancel_out_are_refused(world: World) -> None:
    world.add("both", E)
    world.region("both", W)
    assert "cancel" in refused(world, ranked(like("both")))


def test_a_vector_goes_to_the_space_it_names_or_fits(world: World) -> None:
    world.add("mine", E)
    world.add("yours", (1.0, 0.0, 0.0), space="theirs")
    world.add("picture", np.ones(8) / 8**0.5, space="picture-version", kind="picture")
    assert ids(world.annotations(ranked(near(E)))) == ["mine"]
    assert ids(world.annotations(ranked(near((1.0, 0.0, 0.0))))) == ["yours"]
    assert ids(world.annotations(ranked(near((1.0, 0.0, 0.0), space="theirs")))) == ["yours"]
    assert ids(world.annotations(ranked(near(np.ones(8))))) == ["picture"]
    assert ids(world.annotations(ranked(near(np.ones(8), space="the-picture")))) == ["picture"]
    assert "2 numbers" in refused(world, ranked(near(E, space="theirs")))
    assert "'nowhere'" in refused(world, ranked(near(E, space="nowhere")))
    details = refused(world, ranked(near((1.0, 2.0, 3.0, 4.0))))
    assert "4 numbers" in details
    assert "'theirs' (3 numbers)" in details


def test_a_vector_that_fits_two_spaces_must_name_one(world: World) -> None:
    world.add("a", E)
    world.add("b", N, space="second")
    assert "'client', 'second'" in refused(world, ranked(near(E)))


def test_an_app_without_vectors_has_no_hits(world: World) -> None:
    assert ids(world.annotations(ranked(near(E)))) == []
    assert ids(world.inputs(ranked(near(E, space="picture-version")))) == []


def test_apps_are_walls(compass: World) -> None:
    other = compass.new_app("other")
    compass.add("stranger", E, app=other)
    assert "stranger" not in ids(compass.annotations(ranked(near(E))))
    assert ids(compass.annotations(ranked(near(E)), app=other)) == ["stranger"]
    assert ids(compass.annotations(Search(), app=other)) == ["stranger"]


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Pillow.new("RGB", (32, 32), colour).save(out, "PNG")
    return out.getvalue()


def picture_rank(*, base64: bytes = b"", url: str = "") -> Rank:
    rank = Rank()
    rank.annotation.data.image.base64, rank.annotation.data.image.url = base64, url
    return rank


@pytest.fixture
def album(world: World) -> World:
    queue = world.embedders.queues["picture"]
    for colour in ("red", "blue", "green"):
        vector = queue.vector(Pillow.open(io.BytesIO(png(colour))).convert("RGB"))
        world.add(colour, vector, space="picture-version", kind="picture")
    return world


def test_by_picture_bytes_and_url(album: World) -> None:
    album.web["http://example.org/b.png"] = png("blue")
    for rank in (picture_rank(base64=png("blue")), picture_rank(url="http://example.org/b.png")):
        answer = album.inputs(ranked(rank))
        assert ids(answer)[0] == "blue"
        assert answer.hits[0].score == pytest.approx(1.0, abs=1e-6)
        assert len(answer.hits) == 3


def test_by_a_picture_of_our_own_never_goes_out(album: World) -> None:
    digest = album.store.blobs.put(png("green"))
    assert ids(album.inputs(ranked(picture_rank(url=f"http://postil.test/blobs/{digest}"))))[0] == "green"
    gone = picture_rank(url="http://postil.test/blobs/" + "0" * 64)
    assert "there is nothing at" in refused(album, ranked(gone), StatusCode.INPUT_DOWNLOAD_FAILED)


def test_a_picture_that_does_not_come_is_30002(album: World) -> None:
    details = refused(album, ranked(picture_rank(url="http://example.org")), StatusCode.INPUT_DOWNLOAD_FAILED)
    assert "the host does not answer" in details


def test_broken_picture_bytes_are_refused(album: World) -> None:
    with pytest.raises(Failure) as failure:
        album.annotations(ranked(picture_rank(base64=b"not a picture")))
    assert "searches[0].query.ranks[0]" in failure.value.details


def test_by_text(world: World) -> None:
    queue = world.embedders.queues["text"]
    for text in ("a harbour", "a forest"):
        world.add(text, queue.vector(text), space="text-version", kind="text")
    rank = Rank()
    rank.annotation.data.text.raw = "a forest"
    assert ids(world.annotations(ranked(rank))) == ["a forest", "a harbour"]


def test_an_embedder_may_be_named(album: World) -> None:
    rank = picture_rank(base64=png("red"))
    rank.annotation.embed_model_version_id = "the-picture"
    assert ids(album.annotations(ranked(rank)))[0] == "red"
    rank.annotation.embed_model_version_id = "text-version"
    assert "no picture embedder" in refused(album, ranked(rank))


def test_without_an_embedder_pictures_cannot_be_searched_by(tmp_path: Path) -> None:
    world = World(tmp_path, kinds=())
    refused(world, ranked(picture_rank(base64=png("red"))), StatusCode.SEARCH_PREDICTION_FAILURE)
    world.store.close()


def test_brute_force_scans(compass: World) -> None:
    compass.annotations(ranked(near(E)))
    compass.annotations(ranked(near(E), algorithm="brute_force"))
    assert compass.plans == [Plan.GRAPH, Plan.SCAN]


def test_several_searches_are_run_in_turn(compass: World) -> None:
    request = PostAnnotationsSearchesRequest(searches=[ranked(near(W)), ranked(near(N))])
    request.pagination.per_page = 1
    assert _ids(compass, request) == ["west", "north"]


def _ids(world: World, request: PostAnnotationsSearchesRequest) -> list[str]:
    return ids(MultiSearchResponse.FromString(world.searches.annotations(world.call(), request)))


def test_no_search_at_all_is_refused(world: World) -> None:
    with pytest.raises(Failure, match="0 items"):
        world.searches.annotations(world.call(), PostAnnotationsSearchesRequest())


def test_counts_come_without_hits(compass: World) -> None:
    searches = [Search(), ranked(near(E)), ranked(near(E), min_value=0.5)]
    compass.region("east", N)
    request = PostInputsSearchesRequest(searches=searches, only_count=True)
    answer = MultiSearchResponse.FromString(compass.searches.inputs(compass.call(), request))
    assert [count.estimated_total for count in answer.hit_counts] == [4, 4, 3]
    assert not answer.hits
    assert answer.status.code == StatusCode.SUCCESS


def test_debug_tells_how_each_search_was_answered(compass: World) -> None:
    labelled = Search(debug=True)
    labelled.query.filters.add().annotation.data.concepts.add(id="cat", value=1)
    labelled.query.ranks.append(near(E))
    compass.region("north", labels={"cat": 1})
    request = PostAnnotationsSearchesRequest(searches=[ranked(near(E), debug=True), ranked(near(N)), labelled])
    answer = MultiSearchResponse.FromString(compass.searches.annotations(compass.call(), request))
    plain, narrow = answer.debug
    assert (plain.plan, list(plain.walks), plain.matching) == ("nearest", ["graph"], 0)
    assert (narrow.plan, list(narrow.walks), narrow.matching) == ("scan", ["gather"], 1)
    assert [step.name for step in narrow.steps] == ["query", "filter", "scan", "read"]
    assert not compass.annotations(ranked(near(E))).debug
