"""Several stores read as one, across the borders between them."""

import os

import numpy as np
import pytest

from nafp.search import collection, store
from nafp.search import rows as rows_module


def unit(n_rows, *, dim=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def saved(folder, name, lengths, *, seed=0, **meta):
    meta = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": 8000, "model": "m", **meta}
    with store.Writer(folder, name, dim=8, meta=meta) as writer:
        for number, n_rows in enumerate(lengths):
            writer.append(f"{name}/{number}.wav", n_rows / 2, unit(n_rows, seed=seed + number))
        return writer.finish()


@pytest.fixture(params=["mapped", "read"])
def rows(tmp_path, request, monkeypatch):
    if request.param == "read":
        monkeypatch.setattr(rows_module, "MAPPED_BYTES", 0)
    stores = [saved(tmp_path, "dummy_db", (5, 0, 7)), saved(tmp_path, "db", (4, 9), seed=50)]
    return collection.Collection.of(stores)


def test_rows_are_those_of_the_stores_in_order(rows):
    whole = np.concatenate([source.vectors for source in rows.sources])
    np.testing.assert_array_equal(rows.read(0, 25), whole)
    np.testing.assert_array_equal(rows.read(10, 15), whole[10:15])
    np.testing.assert_array_equal(np.concatenate([block for _, block in rows.blocks(4)]), whole)
    numbers = np.array([[24, 0, 12], [11, 13, 5]])
    np.testing.assert_array_equal(rows.take(numbers), whole[numbers])


@pytest.mark.parametrize("n", [1, 3, 30])
def test_windows_are_the_rows_from_each_start(rows, n):
    starts = np.arange(-3, 27)
    places = starts[:, None] + np.arange(n)
    np.testing.assert_array_equal(rows.windows(starts, n), rows.take(places))


def test_rows_of_one_part_are_not_copied(rows):
    whole, first = rows.read(0, len(rows)), int(rows.edges[1])
    assert np.shares_memory(rows.at_once(0, first), rows.parts[0])
    for start, stop in ((0, first), (0, first - 1), (1, len(rows)), (0, len(rows))):
        np.testing.assert_array_equal(rows.at_once(start, stop), whole[start:stop])


def test_every_row_knows_its_track(rows):
    tracks = rows.track_of(np.arange(25))
    expected = [0] * 5 + [2] * 7 + [3] * 4 + [4] * 9
    assert tracks.tolist() == expected
    first, end = rows.borders(tracks)
    assert all(first <= np.arange(25))
    assert all(np.arange(25) < end)


def test_reading_keeps_no_memory(tmp_path):
    def resident_kib():
        with open("/proc/self/status") as lines:
            status = lines.read()
        return int(status.split("RssFile:")[1].split()[0])

    n_rows = 200_000
    vectors = np.repeat(np.arange(n_rows, dtype=np.float32)[:, None], 64, axis=1)
    vectors.tofile(tmp_path / "db.mm")
    np.save(tmp_path / "db_shape.npy", (n_rows, 64))
    rows = collection.Collection.of([store.Store.open(tmp_path, "db")])
    before = resident_kib()
    for start, block in rows.blocks(20_000):
        np.testing.assert_array_equal(block[:, 0], np.arange(start, start + 20_000))
    numbers = np.random.default_rng(0).integers(0, n_rows, 5000)
    np.testing.assert_array_equal(rows.take(numbers)[:, 63], numbers)
    windows = rows.windows(numbers, 3)
    expected = np.minimum(numbers[:, None] + np.arange(3), n_rows - 1)
    np.testing.assert_array_equal(windows[:, :, 7], expected)
    assert resident_kib() - before < 1000  # The file is 50,000 KiB.


def test_a_file_cut_while_in_use_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "MAPPED_BYTES", 0)
    unit(25).tofile(tmp_path / "db.mm")
    np.save(tmp_path / "db_shape.npy", (25, 8))
    rows = collection.Collection.of([store.Store.open(tmp_path, "db")])
    os.truncate(tmp_path / "db.mm", 20 * 8 * 4)
    with pytest.raises(ValueError, match="cut while in use"):
        rows.take(np.array([3, 21]))


def test_a_bare_store_can_be_cut_into_equal_tracks(tmp_path):
    unit(25).tofile(tmp_path / "db.mm")
    np.save(tmp_path / "db_shape.npy", (25, 8))
    bare = store.Store.open(tmp_path, "db")
    assert collection.Collection.of([bare]).tracks == []
    cut = collection.Collection.of([bare], rows_per_track=10)
    assert cut.tracks == ["db:0", "db:1", "db:2"]
    assert (cut.end_rows - cut.first_rows).tolist() == [10, 10, 5]


@pytest.mark.parametrize("change", [{"model": "other"}, {"hop_s": 0.25}, {"sample_rate_hz": 16000}])
def test_stores_of_different_models_do_not_mix(tmp_path, change):
    stores = [saved(tmp_path / "a", "db", (3,)), saved(tmp_path / "b", "db", (3,), **change)]
    with pytest.raises(ValueError, match=f"cannot be mixed: {next(iter(change))} is"):
        collection.Collection.of(stores)


@pytest.mark.parametrize("value, reason", [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (3.0, "length")])
def test_a_row_that_is_no_fingerprint_is_named(tmp_path, value, reason):
    vectors = unit(25)
    vectors[17, 3] = value
    vectors.tofile(tmp_path / "db.mm")
    np.save(tmp_path / "db_shape.npy", (25, 8))
    rows = collection.Collection.of([store.Store.open(tmp_path, "db")])
    with pytest.raises(ValueError, match=rf"db.mm, row 17.*{reason}"):
        rows.check()
