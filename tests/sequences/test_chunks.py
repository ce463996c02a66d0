"""Chunks are drawn and cut as AMG-Embedding does, on its own numbers."""

import json
import pathlib

import numpy as np
import pytest

from nafp import errors
from nafp.search import store
from nafp.sequences import chunks, clips, recordings, splitting

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "amg"


def test_drawn_chunks_have_the_lengths_ranges_and_overlaps_of_the_original():
    table = np.load(VECTORS / "generate_chunk.npz")["rows"]
    for n_rows, most, size, _, lowest, highest, first, length, overlap in table[table[:, 0] >= 3]:
        for place, expected in (
            (0.0, lowest),
            ((first - lowest + 0.5) / (highest - lowest + 1), first),
            (1.0, highest),
        ):
            chunk = chunks.drawn(int(n_rows), int(most), size=size, place=min(place, 1 - 1e-9))
            assert (chunk.first, chunk.n_rows) == (expected, length)
        assert (
            chunks.drawn(int(n_rows), int(most), size=size, place=place_of(first, lowest, highest)).overlap == overlap
        )


def place_of(first: float, lowest: float, highest: float) -> float:
    return (first - lowest + 0.5) / (highest - lowest + 1)


def test_a_clip_too_short_for_a_chunk_is_refused():
    with pytest.raises(errors.Invalid, match="2 rows: at least 3"):
        chunks.drawn(2, 12, size=0.5, place=0.5)


def test_rows_of_seconds():
    assert [chunks.rows_of(s) for s in (5, 10, 15, 30)] == [9, 19, 29, 59]
    assert [chunks.padded_rows(s) for s in (5, 10, 15, 30)] == [12, 24, 32, 64]
    with pytest.raises(errors.Invalid, match="seconds=7: allowed are 5, 10, 15, 30"):
        chunks.padded_rows(7)


def test_a_folder_is_split_as_the_original_splits_it(tmp_path):
    given = json.loads((VECTORS / "split_database.json").read_text())
    for name, n_rows in given["inputs"].items():
        song = int(name.split("-")[0])
        clips.write(tmp_path / name, 1000 * song + np.arange(2 * n_rows).reshape(n_rows, 2))
    for size, files in given["outputs_by_max_len"].items():
        out = tmp_path / size
        assert splitting.split(tmp_path, out, seconds=(int(size) + 1) / 2) == (5, len(files))
        rows = {path.name: np.load(path) for path in out.iterdir()}
        assert {name: [len(x), x[0, 0], x[-1, -1]] for name, x in rows.items()} == files


def test_a_split_needs_files_that_are_long_enough_and_another_folder(tmp_path):
    clips.write(tmp_path / "1-00.npy", np.ones((8, 2)))
    with pytest.raises(errors.Invalid, match=r"none of its 1 recordings has 9 rows \(5 s\)"):
        splitting.split(tmp_path, tmp_path / "out", seconds=5)
    assert not (tmp_path / "out").exists()
    with pytest.raises(errors.Invalid, match="is the source itself"):
        splitting.split(tmp_path, tmp_path, seconds=3)
    with pytest.raises(errors.NotFound, match="no such folder"):
        splitting.split(tmp_path / "missing", tmp_path, seconds=3)


def test_the_tracks_of_a_store_are_split_in_their_order(tmp_path):
    with store.Writer(tmp_path, "db", dim=2, meta={}) as writer:
        for number, name in enumerate(("z/a.flac", "a/b.flac", "a/short.flac")):
            writer.append(name, 5.0, np.full((20 if number < 2 else 4, 2), number))
        writer.finish()
    assert splitting.split(tmp_path / "db", tmp_path / "cut", seconds=5) == (3, 4)
    cut = recordings.opened(tmp_path / "cut", dim=2, chunk_rows=9)
    assert cut.names == ["1-a", "2-b"]
    assert [rows[0, 0] for rows in cut.rows] == [0, 1]


def test_one_version_of_all_clips_is_opened_by_its_number(tmp_path):
    for name in ("1-00", "1-01", "10-00", "2-00", "2-01"):
        clips.write(tmp_path / f"{name}.npy", np.full((3, 2), float(name.replace("-", "."))))
    opened = recordings.opened(f"{tmp_path}@01", dim=2, chunk_rows=9)
    assert (opened.names, [rows[0, 0] for rows in opened.rows]) == (["1", "2"], [np.float32(1.01), np.float32(2.01)])
    with pytest.raises(errors.Invalid, match="no clip has a version 02"):
        recordings.opened(f"{tmp_path}@02", dim=2, chunk_rows=9)
