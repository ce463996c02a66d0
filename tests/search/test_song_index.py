"""A standalone index finds what the benchmark's and song_mine's own programs would find with theirs."""

import json

import faiss
import numpy as np
import pytest

from nafp import errors
from nafp.search import collection, song_index
from nafp.verbs import index as verb
from tests import stores


def unit(n_rows, *, seed, dim=16):
    rows = np.random.default_rng(seed).normal(size=(n_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


SONGS = {f"music/{name}.mp3": unit(n, seed=n) for name, n in (("b", 300), ("a", 0), ("c", 321), ("d.e", 200))}
ALL = np.concatenate(list(SONGS.values()))
QUERIES = unit(50, seed=9)


def theirs(factory):
    """Returns an index as the other program makes it: trained on everything, then everything added."""
    if factory:
        built = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    else:
        built = faiss.IndexIVFPQ(faiss.IndexFlatIP(16), 16, 8, 4, 8)
    built.train(ALL)
    built.add(ALL)
    return built


@pytest.mark.parametrize(
    "factory, settings",
    [
        ("IVF8,PQ4np", {"kind": "IVF8,PQ4np"}),  # Without what a polysemous code is trained for, which takes long.
        pytest.param("IVF8,PQ4", {"kind": "IVF8,PQ4"}, marks=pytest.mark.slow),
        ("HNSW32", {"kind": "HNSW32"}),
        ("Flat", {}),
        ("", {"n_parts": 4, "n_lists": 8, "dim": 16}),
    ],
)
def test_the_files_are_those_that_the_other_programs_write(tmp_path, capsys, monkeypatch, factory, settings):
    monkeypatch.setattr(collection.Collection.blocks, "__defaults__", (250,))
    stores.write(tmp_path, "db", SONGS)
    verb.run(str(tmp_path), out=str(tmp_path / "made" / "songs"), **settings)
    assert "821 rows of 3 songs" in capsys.readouterr().out
    written = json.loads((tmp_path / "made" / "songs.json").read_text())
    assert written == {"0": "b", "300": "c", "621": "d.e"}
    ours, expected = faiss.read_index(str(tmp_path / "made" / "songs.index")), theirs(factory)
    assert ours.metric_type == expected.metric_type
    if hasattr(ours, "nprobe"):
        assert (ours.nlist, type(ours.quantizer)) == (expected.nlist, type(expected.quantizer))
        ours.nprobe = expected.nprobe = 3
    for found, right in zip(ours.search(QUERIES, 5), expected.search(QUERIES, 5)):
        np.testing.assert_allclose(found, right, rtol=1e-6)


def test_a_folder_of_files_is_indexed_in_the_order_of_their_paths(tmp_path):
    for name, rows in (
        ("y/b", unit(3, seed=1)),
        ("x/b", unit(2, seed=2)),
        ("a", unit(4, seed=3)),
        ("c", unit(0, seed=4)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", rows)
    rows = song_index.rows_of(tmp_path, ())
    assert song_index.songs(rows) == {0: "a", 4: "x/b", 6: "y/b"}
    np.testing.assert_array_equal(rows.read(4, 6), np.load(tmp_path / "x" / "b.npy"))


def test_many_files_are_read_instead_of_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr(song_index, "_MOST_MAPPED", 0)
    np.save(tmp_path / "a.npy", unit(4, seed=3))
    rows = song_index.rows_of(tmp_path, ())
    assert not isinstance(rows.parts[0], np.memmap)
    np.testing.assert_array_equal(rows.read(0, 4), unit(4, seed=3))


@pytest.mark.parametrize(
    "rows, settings, said",
    [
        (unit(9, seed=1), {"kind": "IVF8,PQ4"}, "only 9 rows"),
        (unit(9, seed=1), {"dim": 128}, "have 16 dimensions"),
        (unit(300, seed=1), {"n_parts": 5, "n_lists": 8}, "-m=5"),
        (unit(9, seed=1), {"metric": "cosine"}, "allowed are ip, l2"),
        (unit(9, seed=1)[0], {}, r"holds float32 \[16\]"),
        (2 * unit(9, seed=1), {}, "length 2"),
    ],
)
def test_what_cannot_be_indexed_says_why(tmp_path, rows, settings, said):
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(errors.Invalid, match=said):
        verb.run(str(tmp_path), out=str(tmp_path / "songs"), **settings)
    assert not (tmp_path / "songs.index").exists()


def test_files_of_two_networks_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", unit(3, seed=1))
    np.save(tmp_path / "b.npy", unit(3, seed=1, dim=8))
    with pytest.raises(errors.Invalid, match=r"b\.npy: has 8 dimensions"):
        song_index.rows_of(tmp_path, ())


def test_files_of_songs_have_no_names(tmp_path):
    np.save(tmp_path / "a.npy", unit(3, seed=1))
    with pytest.raises(errors.Invalid, match=r"--name=db: .* holds files of songs and no stores: leave it out"):
        song_index.rows_of(tmp_path, ["db"])


def test_bare_stores_do_not_say_where_songs_begin(tmp_path):
    unit(3, seed=1).tofile(tmp_path / "db.mm")
    np.save(tmp_path / "db_shape.npy", [3, 16])
    with pytest.raises(errors.Invalid, match="do not say where songs begin"):
        song_index.rows_of(tmp_path, ["db"])
    with pytest.raises(errors.NotFound):
        song_index.rows_of(tmp_path / "nowhere", ["db"])
