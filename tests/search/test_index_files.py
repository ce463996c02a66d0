"""A kept index is used again only while building it anew would give the same index."""

import json
import os

import faiss
import numpy as np
import pytest

from nafp.search import collection, index, index_files, store


def unit(n_rows, *, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def save(folder, vectors):
    vectors.tofile(folder / "db.mm")
    np.save(folder / "db_shape.npy", vectors.shape)
    return collection.Collection.of([store.Store.open(folder, "db")])


@pytest.fixture
def rows(tmp_path):
    return save(tmp_path, unit(600))


def opened(rows, folder, kind="IVF8,Flat", **settings):
    chosen = index.plan(kind, n_rows=len(rows), dim=16, **settings)
    return index_files.opened(rows, chosen, folder)


def files(folder):
    return sorted(path.name for path in folder.glob("*.faiss*"))


def test_an_unchanged_store_is_indexed_once(rows, tmp_path):
    first = opened(rows, tmp_path)
    second = opened(rows, tmp_path, n_probe=5)  # How it is searched does not matter.
    assert "load_s" not in first.about
    assert second.about["load_s"] >= 0
    assert second.about["add_s"] == first.about["add_s"]
    queries = unit(9, seed=1)
    second = opened(rows, tmp_path)
    np.testing.assert_array_equal(first.search(queries)[1], second.search(queries)[1])
    names = files(tmp_path)
    assert len(names) == 2
    assert faiss.read_index(str(tmp_path / names[0])).ntotal == 600


@pytest.mark.parametrize("changed", ["more rows", "one value", "touched"])
def test_a_changed_store_is_indexed_anew(rows, tmp_path, changed):
    opened(rows, tmp_path)
    vectors = unit(600)
    if changed == "more rows":
        vectors = unit(601)
    if changed == "one value":
        vectors[300] = vectors[301]
    again = save(tmp_path, vectors)
    if changed == "touched":
        os.utime(tmp_path / "db.mm", ns=(1, 1))
    assert "load_s" not in opened(again, tmp_path).about
    assert "load_s" in opened(again, tmp_path).about
    assert len(files(tmp_path)) == 2


def test_another_kind_or_training_is_another_file(rows, tmp_path):
    opened(rows, tmp_path)
    assert "load_s" not in opened(rows, tmp_path, "IVF16,Flat").about
    assert "load_s" not in opened(rows, tmp_path, train_rows=400).about
    assert "load_s" in opened(rows, tmp_path).about
    assert len(files(tmp_path)) == 6


def test_a_half_written_index_is_not_believed(rows, tmp_path):
    opened(rows, tmp_path)
    note = next(tmp_path.glob("*.json"))
    note.write_text(note.read_text()[:50])
    assert "load_s" not in opened(rows, tmp_path).about
    assert json.loads(note.read_text())["recipe"]


def test_an_exact_index_is_not_kept(rows, tmp_path):
    opened(rows, tmp_path, "l2")
    opened(rows, None)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_no_error(rows, tmp_path):
    (tmp_path / "file").write_text("")
    assert "not_kept" in opened(rows, tmp_path / "file" / "folder").about
