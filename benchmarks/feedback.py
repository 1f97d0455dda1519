"""Does feedback make searches better at once? Digits through a real server, with clicks simulated.

`python -m benchmarks.feedback` (`make bench-feedback`) posts the 1,797 digits of scikit-learn as vectors of 64 pixels,
runs 300 queries by example of each of three draws, clicks on the first k hits of the same digit from the top, and asks
again. What counts is
nDCG at 10 after those that the clicks have judged (chosen, or passed over above the last click) are taken out of both
orders. Then the clicks are taken back, and the order must be that of before, bit by bit.

With noise (sigma 8 on pixels of 0 to 16) the vectors are a mediocre embedding, as there is most to learn from.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.processes import ROOT, Postil
from postil.v1.common_pb2 import UserAppIDSet
from postil.v1.data_pb2 import Data, Embedding
from postil.v1.feedback_service_pb2 import DeleteFeedbackRequest, PostSearchFeedbackRequest
from postil.v1.feedback_service_pb2_grpc import FeedbackStub
from postil.v1.input_pb2 import EventType, FeedbackInfo, Input
from postil.v1.input_service_pb2 import PostInputsRequest
from postil.v1.input_service_pb2_grpc import InputsStub
from postil.v1.search_pb2 import Query, Rank, Search
from postil.v1.search_service_pb2 import PostInputsSearchesRequest
from postil.v1.search_service_pb2_grpc import SearchesStub

PAGE = 20  # hits that a person looks at
DEEP = 60  # hits that are judged by
DEPTH = 10
DRAWS = 3  # of noise, queries and mistakes
UNRELATED = 2  # other queries asked again for a query learned about…
EVERY = 3  # …and for how many of them one is: they never move, and cost as much as the rest
BEGIN, END = "<!-- begin: study -->", "<!-- end: study -->"

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Figures:
    """What one setting gave, a number for each query."""

    noise: float
    clicks: int
    wrong: float
    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    draws: list[float] = field(default_factory=list)  # the gain of each draw
    unrelated: list[float] = field(default_factory=list)  # change of nDCG at 10 of other queries
    click_ms: list[float] = field(default_factory=list)
    plain_ms: list[float] = field(default_factory=list)
    learned_ms: list[float] = field(default_factory=list)
    restored: list[bool] = field(default_factory=list)  # whether all was as before once the clicks were taken back

    @property
    def gain(self) -> float:
        return float(np.mean(self.after) - np.mean(self.before))

    @property
    def worse(self) -> float:
        """Share of queries that learning made worse."""
        return float(np.mean(np.array(self.after) < np.array(self.before) - 1e-9))

    @property
    def better(self) -> float:
        return float(np.mean(np.array(self.after) > np.array(self.before) + 1e-9))


class Digits:
    """The digits in an app of a running server.

    Args:
        channel: To the server.
        noise: Standard deviation of what is added to the pixels.
        seed: Of the noise and of everything drawn later.
    """

    def __init__(self, channel: grpc.Channel, noise: float, seed: int) -> None:
        pixels, self.labels = load_digits(return_X_y=True)
        self.random = np.random.default_rng(seed)
        vectors = pixels + self.random.normal(0.0, noise, pixels.shape) if noise else pixels
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self._app = UserAppIDSet(user_id="me", app_id=f"digits-{noise:g}-{seed}-{time.time_ns()}")
        self._inputs, self._searches, self._feedback = InputsStub(channel), SearchesStub(channel), FeedbackStub(channel)
        self._post()

    def _post(self) -> None:
        for start in range(0, len(self.vectors), 128):
            part = self.vectors[start : start + 128]
            items = [Input(id=str(start + n), data=Data(embeddings=[Embedding(vector=v)])) for n, v in enumerate(part)]
            _check(self._inputs.PostInputs(PostInputsRequest(user_app_id=self._app, inputs=items)))

    def search(self, query: int, hits: int) -> Any:
        """The answer to a search by the vector of a digit."""
        rank = Rank()
        rank.annotation.data.embeddings.add(vector=self.vectors[query])
        request = PostInputsSearchesRequest(user_app_id=self._app, searches=[Search(query=Query(ranks=[rank]))])
        request.searches[0].algorithm = "brute_force"
        request.pagination.per_page = hits
        return _check(self._searches.PostInputsSearches(request))

    def order(self, query: int) -> list[int]:
        """The digits found, without the query itself."""
        return [number for number in _numbers(self.search(query, DEEP)) if number != query]

    def click(self, search_id: str, number: int, user: str) -> None:
        info = FeedbackInfo(event_type=EventType.search_click, search_id=search_id, end_user_id=user)
        given = Input(id=str(number), feedback_info=info)
        _check(self._feedback.PostSearchFeedback(PostSearchFeedbackRequest(user_app_id=self._app, input=given)))

    def take_back(self, user: str) -> None:
        _check(self._feedback.DeleteFeedback(DeleteFeedbackRequest(user_app_id=self._app, end_user_id=user)))

    def ndcg(self, query: int, order: Sequence[int], judged: set[int]) -> float:
        """nDCG at 10 of an order for a query, without what was judged."""
        same = self.labels == self.labels[query]
        left = int(same.sum()) - 1 - sum(bool(same[number]) for number in judged)
        found = [bool(same[number]) for number in order if number not in judged][:DEPTH]
        discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
        return float(discounts[: len(found)] @ np.array(found, dtype=float) / discounts[: min(DEPTH, left)].sum())

    def chosen(self, query: int, page: Sequence[int], clicks: int, wrong: float) -> list[int]:
        """Positions that the simulated person clicks on: right ones from the top, or now and then the first wrong."""
        right = [at for at, number in enumerate(page) if self.labels[number] == self.labels[query]]
        others = [at for at in range(len(page)) if at not in right]
        found = []
        for _ in range(clicks):
            lot = others if others and self.random.random() < wrong else right
            if lot:
                found.append(lot.pop(0))
        return sorted(found)


def study(digits: Digits, queries: Sequence[int], figures: Sequence[Figures]) -> None:
    """Every query by itself: ask, then click and ask again for each setting, look at others, take all of it back.

    Args:
        digits: What is asked.
        queries: Numbers of digits to search by.
        figures: To be filled, by growing number of clicks. All with the same share of wrong clicks.
    """
    for number, query in enumerate(queries):
        began = time.perf_counter()
        answer = digits.search(query, DEEP)
        figures[0].plain_ms.append(1e3 * (time.perf_counter() - began))
        order = [found for found in _numbers(answer) if found != query]
        positions = digits.chosen(query, order[:PAGE], figures[-1].clicks, figures[-1].wrong)
        others = digits.random.choice(np.flatnonzero(digits.labels != digits.labels[query]), UNRELATED).tolist()
        others = [] if number % EVERY else others
        before = [digits.ndcg(other, digits.order(other), set()) for other in others]
        done = 0
        for one in figures:
            for at in positions[done : one.clicks]:
                began = time.perf_counter()
                digits.click(answer.id, order[at], "reader")
                one.click_ms.append(1e3 * (time.perf_counter() - began))
            done = one.clicks
            _judge(digits, query, order, positions[:done], one)
        after = [digits.ndcg(other, digits.order(other), set()) for other in others]
        figures[-1].unrelated += np.abs(np.subtract(after, before)).tolist()
        digits.take_back("reader")
        figures[-1].restored.append(_hits(digits.search(query, DEEP)) == _hits(answer))


def _judge(digits: Digits, query: int, order: Sequence[int], positions: Sequence[int], figures: Figures) -> None:
    """Asks again after the clicks at these positions, and compares what they have not judged."""
    judged = set(order[: positions[-1] + 1]) if positions else set()
    began = time.perf_counter()
    learned = digits.order(query)
    figures.learned_ms.append(1e3 * (time.perf_counter() - began))
    figures.before.append(digits.ndcg(query, order, judged))
    figures.after.append(digits.ndcg(query, learned, judged))


def run(
    address: str, queries: int, clicks: Sequence[int], noises: Sequence[float], wrong: float, draws: int = 1
) -> Iterator[Figures]:
    """All settings, one after another, over one server: so many queries of each draw."""
    with grpc.insecure_channel(address) as channel:
        for noise in noises:
            sure = [Figures(noise, count, 0.0) for count in clicks]
            unsure = [Figures(noise, max(clicks), wrong)]
            for seed in range(draws):
                digits = Digits(channel, noise, seed)
                drawn = digits.random.choice(len(digits.vectors), queries, replace=False).tolist()
                for figures in (sure, unsure):
                    study(digits, drawn, figures)
                    for one in figures:
                        one.draws.append(float(np.mean(one.after[-queries:]) - np.mean(one.before[-queries:])))
            yield from (*sure, *unsure)


def table(rows: Sequence[Figures]) -> str:
    """The figures as a table in Markdown."""
    head = (
        "| vectors | clicks | wrong clicks | nDCG@10 before | after | gain | of the worst draw | better | worse "
        "| unrelated |"
        "\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = []
    for row in rows:
        name = f"noise σ={row.noise:g}" if row.noise else "raw pixels"
        unrelated = f"{np.mean(row.unrelated):.4f}" if row.unrelated else ""
        lines.append(
            f"| {name} | {row.clicks} | {row.wrong:.0%} | {np.mean(row.before):.3f} | {np.mean(row.after):.3f} "
            f"| {row.gain:+.3f} | {min(row.draws):+.3f} | {row.better:.1%} | {row.worse:.1%} | {unrelated} |\n"
        )
    return head + "".join(lines)


def times(rows: Sequence[Figures]) -> str:
    """What it cost, over all settings."""

    def median(of: Callable[[Figures], list[float]]) -> float:
        return float(np.median([value for row in rows for value in of(row)]))

    restored = [same for row in rows for same in row.restored]
    return (
        f"Medians as the client saw them: a search {median(lambda row: row.plain_ms):.2f} ms, a learned one "
        f"{median(lambda row: row.learned_ms):.2f} ms, a click with what is learned from it "
        f"{median(lambda row: row.click_ms):.2f} ms. Once the clicks were taken back, {sum(restored)} of "
        f"{len(restored)} searches had the hits and scores of before, bit by bit.\n"
    )


def _numbers(answer: Any) -> list[int]:
    return [int(hit.input.id) for hit in answer.hits]


def _hits(answer: Any) -> list[tuple[str, float]]:
    return [(hit.input.id, hit.score) for hit in answer.hits]


def _check(answer: Any) -> Any:
    if answer.status.code != 10000:
        raise RuntimeError(f"{answer.status}")
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what feedback does for searches.")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/feedback.md", help="file whose study part is replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Postil(Path(folder) / "data")
        try:
            rows = list(run(server.address, options.queries, (1, 2, 3, 4, 5), (0.0, 8.0), 0.2, DRAWS))
        finally:
            server.end()
    text = f"{table(rows)}\n{times(rows)}"
    print(text)
    page = options.out.read_text()
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    options.out.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")


if __name__ == "__main__":
    main()
