"""Our matcher and our files against those that pfann wrote for the same fingerprints (tests/vectors/pfann_match)."""

import csv
import pathlib

import numpy as np
import pytest

from nafp.identify import identifier, pfann_files
from nafp.search import collection, match, speeds, store

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "pfann_match"


def ranked(rows, query, near, *, shifts):
    """Ranks every place that is proposed, and returns it as `nafp identify` would hand it on."""
    length = len(query[::shifts])
    (places,) = match.rank(query, near, rows, lengths=[length], shifts=shifts, top=10**6)
    n = len(places.tracks)
    ranking = speeds.ClipRanking(
        places.tracks,
        places.starts,
        places.scores,
        places.elsewhere,
        places.compared,
        np.zeros(n),
        np.ones(n),
        np.ones(n),
        0,
    )
    return identifier.RankedClip([], ranking, [speeds.ClipAtSpeed(1.0, query, near, [length])], shifts)


@pytest.mark.parametrize("shifts", [1, 2, 4])
def test_the_files_hold_what_pfann_writes(tmp_path, shifts):
    with np.load(VECTORS / f"mul{shifts}.npz") as saved:
        theirs = dict(saved)
    lengths = theirs["song_lengths"].tolist()
    firsts = np.cumsum([0, *lengths]).tolist()
    table = [store.TrackRows(str(n), *row) for n, *row in zip(theirs["song_names"], firsts, lengths, [0.0] * 7)]
    rows = collection.Collection([theirs["database"]], table)
    with pfann_files.Files(tmp_path / "result.tsv", rows) as files:
        for name, start, n in zip(theirs["query_names"], theirs["query_start"], theirs["query_len"]):
            own = slice(start, start + n)
            near = theirs["neighbour_ids"][own]
            if theirs["top_k"] > near.shape[1]:  # The file has the first few of them; exact search gives the rest.
                near = np.argsort(-theirs["query"][own] @ theirs["database"].T, axis=1, kind="stable")
            files.add(str(name), ranked(rows, theirs["query"][own], near, shifts=shifts))
    board = np.fromfile(tmp_path / "result.tsv.bin", np.float32).reshape(theirs["bin"].shape)
    # A query whose rows are no whole number of hops and one more has other lengths in pfann's phases than in ours.
    whole = [n % shifts == 1 % shifts for n in theirs["query_len"].tolist()]
    np.testing.assert_allclose(board[whole][:, :, 0], theirs["bin"][whole][:, :, 0], atol=1e-6)
    np.testing.assert_array_equal(board[whole][:, :, 1], theirs["bin"][whole][:, :, 1])
    ours, expected = (list(csv.reader(path.read_text().splitlines())) for path in _details(tmp_path, shifts))
    assert [line[:2] for line in ours] == [line[:2] for line in expected]
    assert ours[0] == expected[0]
    for line, other, is_whole in zip(ours[1:], expected[1:], whole, strict=True):
        assert len(line) == 5
        if is_whole:
            assert float(line[2]) == pytest.approx(float(other[2]), abs=2e-6)
            assert float(line[3]) == float(other[3])


def _details(folder, shifts):
    return folder / "result_detail.csv", VECTORS / f"result{shifts}_detail.csv"
