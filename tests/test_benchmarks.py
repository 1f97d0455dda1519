"""The benchmark's parts that must be right for its figures to mean anything; the measuring itself is `make bench`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import load, report
from postil.core.vectors import read_vector

FIGURES = {
    "postil_recall": 0.99,
    "postil_c1_p50_ms": 0.9,
    "postil_c1_p99_ms": 2.0,
    "postil_c8_per_s": 900.0,
    "floor_c1_p50_ms": 0.7,
    "floor_c1_p99_ms": 1.0,
    "floor_c8_per_s": 1000.0,
    "hnswlib_recall": 0.98,
    "hnswlib_p50_ms": 0.2,
    "hnswlib_c8_per_s": 9000.0,
    "hnswlib_build_per_s": 5000.0,
    "load_per_s": 3400.0,
    "loading_search_p99_ms": 7.0,
    "loading_load_per_s": 3000.0,
    "annotations_bulk_per_s": 8001.0,
    "annotations_single_per_s": 1501.0,
    "annotations_single_p50_ms": 8.0,
    "annotations_single_p99_ms": 20.0,
    "pictures_per_s": 71.0,
    "onnxruntime_per_s": 100.0,
    "restart_s": 1.0,
    "restart_first_p50_ms": 1.0,
    "rss_mib": 600.0,
    "restart_rss_mib": 500.0,
    "raw_mib": 195.0,
    "json_1_bare_starlette_rate": 9000.0,
    "json_1_json_door_alone_rate": 3000.0,
    "json_8_bare_starlette_rate": 10000.0,
    "json_8_bare_starlette_cpu_us": 60.0,
    "json_8_json_door_alone_rate": 5001.0,
    "json_8_json_door_alone_cpu_us": 115.0,
    "json_page_curl_median_ms": 4.7,
    "json_page_grpc_door_median_ms": 2.6,
}


def test_the_load_is_a_function_of_its_size() -> None:
    first, second = load.make(300, 32, 20), load.make(300, 32, 20)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert first.vectors.shape == (300, 32)
    assert first.queries.shape == (20, 32)
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), 1.0, atol=1e-5)


def test_truth_and_recall() -> None:
    made = load.make(300, 32, 20)
    exact = load.truth(made.vectors, made.queries)
    full = np.argsort(-(made.queries @ made.vectors.T), axis=1)[:, : load.HITS]
    assert [set(row) for row in exact] == [set(row) for row in full]
    assert load.recall(full, exact) == 1.0
    half = full.copy()
    half[:, ::2] = -1
    assert load.recall(half, exact) == pytest.approx(0.5)


def test_requests_carry_the_vectors_and_300_bytes() -> None:
    made = load.make(300, 32, 20)
    requests = list(load.batches(made.vectors, first=1000))
    assert [len(request.inputs) for request in requests] == [128, 128, 44]
    last = requests[-1].inputs[-1]
    assert load.number_of(last.id) == 1299
    np.testing.assert_array_equal(read_vector(last.data.embeddings[0]), made.vectors[-1])
    last.data.ClearField("embeddings")
    assert 200 < last.ByteSize() < 400


def test_targets_are_judged() -> None:
    rows = report.rows(FIGURES)
    missed = [row.what for row in rows if row.holds is False]
    assert missed == [
        "vectors loaded: acknowledged, durable, searchable",
        "search p99 while loading",
        "first page as curl asks for it, new connection, p50",
    ]
    table = report.table(rows)
    assert table.count("**no**") == 3
    assert "floor 1,000/s (90 %)" in table
