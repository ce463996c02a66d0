"""The evaluation counts as AMG-Embedding does, on its own numbers, and opens what it is given in one order."""

import gzip
import json
import pathlib
import pickle
import types

import numpy as np
import pytest

from nafp import errors
from nafp.search import store
from nafp.sequences import chunks, clips, evaluation, recordings, splitting
from tests.sequences import tones

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "amg"
GIVEN = dict(np.load(VECTORS / "search.npz"))
EXPECTED = json.loads(gzip.decompress((VECTORS / "search.json.gz").read_bytes()))


def given_network() -> types.SimpleNamespace:
    """Stands in for a second stage: knows the vectors of the original's chunks and pieces by their rows."""
    vectors = {}
    for name in ("dummy", "db"):
        cut = GIVEN[name][:, :54].reshape(-1, 9, 16)
        vectors |= {rows.tobytes(): vector for rows, vector in zip(cut, GIVEN[f"chunk_embedding_{name}"])}
    for (_, start, piece, n), of_piece in zip(GIVEN["query_piece_table"], GIVEN["query_piece_embeddings"]):
        for rows, vector in zip(GIVEN["query"], of_piece):
            vectors[rows[start + 9 * piece :][:n].tobytes()] = vector

    class Known(types.SimpleNamespace):
        def __call__(self, sequences):
            return np.stack([vectors[np.ascontiguousarray(rows).tobytes()] for rows in sequences])

    return Known(chunk_rows=9, seconds=5)


def named(rows: np.ndarray) -> recordings.Recordings:
    return recordings.Recordings([str(number) for number in range(len(rows))], list(rows))


@pytest.mark.parametrize("method, mode", [("single", "single_stage"), ("two", "two_stage")])
def test_counts_equal_the_original(method, mode):
    network, db = given_network(), named(GIVEN["db"])
    index = evaluation.Index(network, named(GIVEN["dummy"]), db)
    starts = recordings.Starts(table={int(n): rows for n, rows in EXPECTED["test_ids"].items()})
    lines = list(
        evaluation.evaluate(network, index, named(GIVEN["query"]), range(4), starts, seconds=(), methods=[method])
    )
    lengths, top1, top10 = EXPECTED[mode]["table"]
    assert [str(chunks.rows_of(line.seconds)) for line in lines] == lengths[1:]
    counts = [(line.chunk_top1, line.chunk_top10) if method == "single" else line[5:7] for line in lines]
    for line, (one, ten), percent1, percent10 in zip(lines, counts, top1[1:], top10[1:]):
        assert (100 * one / line.asked, 100 * ten / line.asked) == (float(percent1), float(percent10))


def test_the_first_stage_alone_finds_clean_queries_at_their_place():
    network, db = given_network(), named(GIVEN["db"])
    index = evaluation.Index(network, named(GIVEN["dummy"]), db)
    lines = evaluation.evaluate(network, index, db, range(4), recordings.Starts(each=3), seconds=[5], methods=["first"])
    (line,) = lines
    assert (line.asked, line.place_top1, line.chunk_top1) == (12, 12, 12)


def test_queries_that_are_too_short_are_left_out():
    short = recordings.Recordings(["a", "b"], [tones.sequence(0, 8), tones.sequence(1, 20)])
    found = evaluation.queries(short, [0, 1], recordings.Starts(each=5), 9)
    assert [(query.recording, query.start) for query in found] == [(1, 0), (1, 2), (1, 5), (1, 8), (1, 11)]


def test_a_folder_opens_in_the_order_of_numbers_and_chunks_are_put_together(tmp_path):
    (tmp_path / "whole").mkdir()
    for number in (1, 2, 10):
        clips.write(tmp_path / "whole" / f"{number}.npy", tones.sequence(number, 95))
    splitting.split(tmp_path / "whole", tmp_path / "cut", seconds=5)
    whole, cut = (recordings.opened(tmp_path / name, dim=8, chunk_rows=9) for name in ("whole", "cut"))
    assert whole.names == cut.names == ["1", "2", "10"]
    for rows, joined in zip(whole.rows, cut.rows):
        np.testing.assert_array_equal(rows[:90], joined)


def test_a_store_opens_by_its_name(tmp_path):
    with store.Writer(tmp_path, "db", dim=8, meta={"hop_s": 0.5, "model": {"sha256": "ab"}}) as writer:
        for number in range(3):
            writer.append(f"song{number}", 10.0, tones.sequence(number))
        writer.finish()
    opened = recordings.opened(tmp_path / "db", dim=8, chunk_rows=9)
    assert (opened.names, opened.first_stage) == (["song0", "song1", "song2"], "ab")
    np.testing.assert_array_equal(opened.rows[2], tones.sequence(2))
    with pytest.raises(errors.Invalid, match="folder of stores: name one of db"):
        recordings.opened(tmp_path, dim=8, chunk_rows=9)
    with pytest.raises(errors.Invalid, match="fingerprints of 8 numbers; need 16"):
        recordings.opened(tmp_path / "db", dim=16, chunk_rows=9)
    with pytest.raises(errors.Invalid, match="fingerprints of another network"):
        recordings.require_one_network([None, opened], "cd", ("", "db"))


def test_queries_belong_to_the_recording_of_their_name_or_their_number():
    def of(*names):
        return recordings.Recordings(list(names), [])

    assert recordings.answers(of("b", "a"), of("a", "b", "c")) == [1, 0]
    assert recordings.answers(of("x", "y"), of("a", "b")) == [0, 1]
    with pytest.raises(errors.Invalid, match="1 queries and 2 recordings"):
        recordings.answers(of("x"), of("a", "b"))


def test_starts_are_a_number_or_the_test_ids_of_the_original(tmp_path):
    assert recordings.starts("3", chunk_seconds=5).within(59, 9) == [0, 25, 50]
    assert recordings.starts("3", chunk_seconds=5).within(8, 9) == []
    path = tmp_path / "ids.pkl"
    path.write_bytes(pickle.dumps({5: {9: [0, 4, 55], 19: np.array([3])}}))
    table = recordings.starts(str(path), chunk_seconds=5)
    assert table.lengths([30]) == [9, 19]
    assert table.within(59, 9) == [0, 4]
    with pytest.raises(errors.Invalid, match="no test ids for chunks of 10 s"):
        recordings.starts(str(path), chunk_seconds=10)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({5: {"nine": [1]}}))
    with pytest.raises(errors.Invalid, match="its test ids are not rows by length"):
        recordings.starts(str(tmp_path / "bad.pkl"), chunk_seconds=5)
    with pytest.raises(errors.Invalid, match="--starts=²: a number"):
        recordings.starts("²", chunk_seconds=5)
    with pytest.raises(errors.Invalid, match="--starts=some: a number"):
        recordings.starts("some", chunk_seconds=5)
