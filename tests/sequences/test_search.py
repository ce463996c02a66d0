"""The search equals AMG-Embedding's, case by case, and a plain twin of it."""

import gzip
import json
import pathlib

import numpy as np
import pytest

from nafp.sequences import search

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "amg"
GIVEN = dict(np.load(VECTORS / "search.npz"))
EXPECTED = json.loads(gzip.decompress((VECTORS / "search.json.gz").read_bytes()))
SIZE = 9
INDEX = np.concatenate([GIVEN["chunk_embedding_dummy"], GIVEN["chunk_embedding_db"]])
CHUNKS = np.concatenate(
    [x[:, :54].reshape(-1, SIZE, x.shape[-1]) for x in (GIVEN["dummy"], GIVEN["db"])]
)  # Rows 54 .. 58 are dropped.


def ranked(case: dict) -> search.Ranking:
    table = GIVEN["query_piece_table"]
    of_query = (table[:, 0] == case["seg_len"]) & (table[:, 1] == case["id"])
    vectors = GIVEN["query_piece_embeddings"][of_query, case["qi"]]
    cuts = search.pieces(case["seg_len"], SIZE)
    assert [n for _, n in cuts] == table[of_query, 3].tolist()
    return search.single_stage(*search.nearest(INDEX, vectors))


def test_single_stage_equals_the_original():
    for case in EXPECTED["single_stage"]["cases"]:
        ranking = ranked(case)
        assert ranking.places.tolist() == case["top10"]
        np.testing.assert_allclose(ranking.scores, [case["scores"][str(c)] for c in case["top10"]], atol=2e-5)


def test_two_stages_equal_the_original():
    for case in EXPECTED["two_stage"]["cases"]:
        query = GIVEN["query"][case["qi"], case["id"] : case["id"] + case["seg_len"]]
        ranking = search.two_stage(query, ranked(case).places, CHUNKS)
        assert ranking.places.tolist() == case["true_ids"]
        expected = dict(zip(case["candidates"], case["cand_scores"]))
        np.testing.assert_allclose(ranking.scores, [expected[c] for c in case["pred_ids"]], atol=2e-5)


def twin(query: np.ndarray, rows: np.ndarray, k: int) -> dict[int, float]:
    """Scores starts one by one, as the words of the original's description say."""
    starts = {int(r) - i for i, q in enumerate(query) for r in np.argsort(-(rows @ q), kind="stable")[:k] if r >= i}
    return {s: float(np.mean([q @ r for q, r in zip(query, rows[s:])])) for s in starts}


def test_diagonals_equal_a_plain_twin():
    rng = np.random.default_rng(0)
    rows, query = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((7, 8)).astype(np.float32)
    starts, scores = search.diagonals(query, search.nearest(rows, query, k=5)[1], rows)
    expected = twin(query, rows, 5)
    assert starts.tolist() == sorted(expected)
    np.testing.assert_allclose(scores, [expected[s] for s in sorted(expected)], atol=1e-5)


@pytest.mark.parametrize("k", [1, 4, 30, 99])
def test_the_nearest_rows_are_those_of_a_full_sort(k):
    rng = np.random.default_rng(1)
    rows, queries = rng.standard_normal((30, 4)).astype(np.float32), rng.standard_normal((600, 4)).astype(np.float32)
    rows[20] = rows[3]  # A tie.
    similarities, numbers = search.nearest(rows, queries, k=k)
    products = queries @ rows.T
    np.testing.assert_array_equal(numbers, np.argsort(-products, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(similarities, -np.sort(-products, axis=1)[:, :k])


def test_a_last_piece_of_two_rows_is_skipped():
    assert search.pieces(11, 9) == [(0, 9)]
    assert search.pieces(12, 9) == [(0, 9), (9, 3)]
    assert search.pieces(2, 9) == []
