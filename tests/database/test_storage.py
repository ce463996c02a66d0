"""Rows as bytes: how close they stay to the vectors, how they are searched, how one storage becomes another."""

import contextlib
import json

import numpy as np
import pytest

from nafp.database import catalogue, codes, index_segments, snapshot, writer
from nafp.search import plans
from tests.databases import SEAL, fill, names, snapped, unit


def codec_of(storage, dim):
    if storage in codes.LEARNED:
        return codes.learn(storage, unit(3000, dim=dim))
    return codes.codec(storage, dim=dim)


@pytest.mark.parametrize("storage", codes.STORAGES)
def test_a_storage_keeps_rows_of_length_one(storage):
    codec, rows = codec_of(storage, 128), unit(500, dim=128, seed=1)
    coded = codec.encode(rows)
    decoded = codec.decode(coded)
    assert coded.shape == (500, codec.row_bytes)
    assert coded.dtype == np.uint8
    least = {
        "float32": 1 - 1e-6,
        "float16": 0.999999,
        "int8": 0.9998,
        "int4": 0.97,
        "pq2": 0.9,
        "pq1": 0.7,
    }[storage]
    assert (np.vecdot(rows, decoded) / np.linalg.norm(decoded, axis=1)).min() >= least
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-3)
    windows = coded.reshape(50, 10, -1)
    np.testing.assert_array_equal(codec.decode(windows), decoded.reshape(50, 10, -1))
    same = codes.of(json.loads(json.dumps({"dim": 128} | codes.facts(codec))))  # As a catalogue keeps it.
    np.testing.assert_array_equal(same.decode(coded), decoded)
    np.testing.assert_array_equal(same.encode(rows), coded)


@pytest.mark.parametrize("storage", codes.STORAGES)
def test_a_score_means_the_same_in_every_storage(folder, storage):
    fill(folder, 60)
    rows = snapped(folder).rows.read(0, 2400)
    with writer.DatabaseWriter(folder) as writing:
        writing.compact(storage)
        writing.compact("float16" if storage == "float32" else storage)
    decoded = snapped(folder).rows.read(0, 2400)
    noisy = rows + 0.25 * unit(2400, seed=5000) * np.float32(4)
    noisy /= np.linalg.norm(noisy, axis=1, keepdims=True)
    assert np.vecdot(noisy, decoded).mean() == pytest.approx(np.vecdot(noisy, rows).mean(), abs=0.01)


@pytest.mark.parametrize("storage", codes.STORAGES)
def test_bytes_that_a_disk_damaged_are_still_numbers(storage):
    codec = codec_of(storage, 16)
    junk = np.random.default_rng(0).integers(0, 256, (2000, codec.row_bytes), np.uint8)
    junk[0], junk[1] = 255, 0
    assert np.isfinite(codec.decode(junk)).all()


def test_an_unknown_storage_says_which_there_are():
    with pytest.raises(ValueError, match="float32, float16, int8, int4, pq2, pq1"):
        codes.codec("int3", dim=16)


@pytest.mark.parametrize("storage", ["float32", "int8", "int4"])
def test_compacting_changes_storage_and_gives_space_back(folder, storage):
    fill(folder, 60)
    before = snapped(folder)
    with writer.DatabaseWriter(folder, seal_rows=SEAL) as writing:
        writing.remove([str(n) for n in range(0, 60, 3)])
        writing.compact(storage)
        writing.append("new", 1.0, unit(9, seed=3))
    after = snapped(folder)
    codec = codes.codec(storage, dim=16)
    assert len(after.rows) == 40 * 40 + 9
    assert after.rows.path.stat().st_size == len(after.rows) * codec.row_bytes
    assert len(list(folder.glob("fingerprints-*"))) == 1
    for number in (1, 32, 59):
        place = names(after).index(str(number))
        first, end = after.rows.first_rows[place], after.rows.end_rows[place]
        was = before.rows.read(40 * number, 40 * number + 40)
        assert np.vecdot(after.rows.read(first, end), was).min() > 0.95
    assert catalogue.Catalogue(folder).track("59").metadata == {"title": "T59"}


@pytest.mark.parametrize("storage", codes.LEARNED)
def test_a_learned_storage_searches_the_codes_it_keeps(folder, storage):
    fill(folder, 60)
    with writer.DatabaseWriter(folder, seal_rows=SEAL) as writing:
        writing.compact(storage)
        for number in range(60, 70):
            writing.append(str(number), 1.0, unit(40, seed=number))
        writing.remove(["5"])
    opened = snapped(folder)
    assert list(folder.glob("segment-*")) == []
    assert opened.rows.path.stat().st_size == 70 * 40 * opened.rows.codec.row_bytes
    decoded = opened.rows.read(0, len(opened.rows))
    queries = decoded[[100, 1000, 2500]]
    _, near = opened.index.search(queries, 50)
    assert near[:, 0].tolist() == [100, 1000, 2500]
    assert not ((near >= 200) & (near < 240)).any()
    exact = np.argsort(-(queries @ decoded.T), axis=1)[:, :20]  # Of rows made to length 1; the index does without.
    shared = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), near.tolist())]
    assert min(shared) >= 12
    writer.DatabaseWriter(folder).close()  # Changed nothing: what is indexed is taken over.
    again = snapshot.Snapshot(folder, catalogue.Catalogue(folder), opened)
    assert again.index._parts[0].index is opened.index._parts[0].index


def test_a_learned_storage_begins_when_there_is_enough_to_learn_from(folder):
    book = catalogue.Catalogue(folder, write=True)
    with book.change():
        book.tell({"wanted": "pq2"})
    book.close()
    with writer.DatabaseWriter(folder, seal_rows=1600) as writing:
        for number in range(39):
            writing.append(str(number), 1.0, unit(40, seed=number))
        assert writing.catalogue.about()["storage"] == "float16"
        with pytest.raises(ValueError, match="1024 are needed, 0 there"):
            codes.learn("pq1", unit(0))
        for number in range(39, 50):
            writing.append(str(number), 1.0, unit(40, seed=number))
    assert (catalogue.Catalogue(folder).about()["storage"], len(snapped(folder).rows)) == (
        "pq2",
        2000,
    )
    opened = snapped(folder)
    _, near = opened.index.search(unit(40, seed=45)[:1], 5)
    assert 45 * 40 in near
    assert all(opened.rows.is_whole(track) for track in range(50))  # The one with which it began, too.


def wanting(folder, storage="pq2"):
    """Says in the catalogue of a database that it is to become of this storage."""
    with contextlib.closing(catalogue.Catalogue(folder, write=True)) as book, book.change():
        book.tell({"wanted": storage})
    return folder


def test_a_learned_storage_waits_until_removed_tracks_are_made_up_for(folder):
    with writer.DatabaseWriter(wanting(folder), seal_rows=1600) as writing:
        for number in range(40):
            writing.append(str(number), 1.0, unit(40, seed=number))
        writing.remove([str(number) for number in range(1, 40)])
        for number in range(40, 79):  # Every one of these looks whether it can begin.
            writing.append(str(number), 1.0, unit(40, seed=number))
            assert writing.catalogue.about()["storage"] == "float16"
        writing.append("79", 1.0, unit(40, seed=79))
    assert catalogue.Catalogue(folder).about()["storage"] == "pq2"
    assert len(names(snapped(folder))) == 41


def test_a_damaged_track_keeps_a_database_as_it_is_until_it_is_removed(folder):
    with writer.DatabaseWriter(wanting(folder), seal_rows=4000) as writing:
        for number in range(40):
            writing.append(str(number), 1.0, unit(40, seed=number))
    log = snapped(folder).rows.path
    data = bytearray(log.read_bytes())
    data[40 * 32 * 5 + 7] ^= 255  # In track 5.
    log.write_bytes(data)
    with writer.DatabaseWriter(folder, seal_rows=1600) as writing:
        for number in range(40, 42):
            writing.append(str(number), 1.0, unit(40, seed=number))
        assert writing.catalogue.about()["storage"] == "float16"
        assert log.exists()
        writing.remove(["5"])
    writer.DatabaseWriter(folder, seal_rows=1600).close()
    about = catalogue.Catalogue(folder).about()
    assert (about["storage"], about["wanted"], len(names(snapped(folder)))) == ("pq2", None, 41)


def test_a_very_large_index_file_has_lists_and_finds_the_same(folder, monkeypatch):
    monkeypatch.setattr(index_segments, "_LISTS_FROM", 4000)
    monkeypatch.setattr(plans, "FLAT_BELOW", 4000)
    fill(folder, 120)
    with writer.DatabaseWriter(folder, seal_rows=SEAL) as writing:
        writing.compact()
        writing.remove([str(number) for number in range(0, 120, 2)])
    opened = snapped(folder)
    assert len(opened.index._parts) == 1
    queries = opened.rows.take(np.arange(50, 4800, 80))  # Of tracks 1, 3, 5, ...
    _, near = opened.index.search(queries, 5)
    assert (near[:, 0] == np.arange(50, 4800, 80)).mean() > 0.95
    assert ((near < 0) | (near // 40 % 2 == 1)).all()
    assert opened.index.search(queries[:2], 2400)[1].shape == (2, 2400)
