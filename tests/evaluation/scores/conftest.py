"""Stores that several files of tests evaluate."""

import csv

import numpy as np
import pytest

from tests.evaluation.scores.walks import DB, DUMMY, QUERY, ROWS, noisy, save, tracks


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    for name, vectors in (("dummy_db", DUMMY), ("db", DB), ("query", QUERY)):
        save(
            folder,
            name,
            vectors,
            names=[f"{'n' if name != 'dummy_db' else 'd'}{i}" for i in range(60)],
        )
    return str(folder)


@pytest.fixture
def clips(tmp_path):
    """Queries cut from database tracks at known times, some between rows, and two strangers."""
    return write_clips(tmp_path)


def write_clips(tmp_path):
    save(tmp_path, "db", DB, names=[f"/music/song{i:02}.flac" for i in range(20)])
    lines: list[list] = [["query", "answer", "time", "snr", "reverb", "condition"]]
    cut = []
    for number in range(40):
        track, row = number % 20, number % 3
        start = track * ROWS + row
        cut.append(noisy(DB[start : start + 9], noise=0.5, seed=number))
        time = (row + (0.4 if number % 2 else 0.0)) / 2
        condition = "quiet" if number < 20 else "loud"
        lines.append([f"q{number:04}.wav", f"song{track:02}.mp3", time, number / 4, "", condition])
    for number in (40, 41):
        cut.append(tracks(1, seed=1000 + number)[:9])
        lines.append([f"q{number:04}.wav", "stranger.mp3", 0, 3, "", "loud"])
    save(
        tmp_path,
        "query",
        np.concatenate(cut),
        rows=9,
        names=[f"/tmp/x/q{i:04}.wav" for i in range(42)],
    )
    with open(tmp_path / "expected.csv", "w", newline="") as out:
        csv.writer(out).writerows(lines)
    return tmp_path
