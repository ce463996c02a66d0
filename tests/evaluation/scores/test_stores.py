"""Whatever cannot be evaluated is refused in words, before anything is built or written."""

import csv
import json
from typing import Any

import numpy as np
import pytest

from evaluation.scores import evaluate, stores
from nafp import config as config_lib
from nafp.search import collection, store

DIM, ROWS = 16, 12
META: dict[str, Any] = {
    "hop_s": 0.5,
    "segment_s": 1.0,
    "sample_rate_hz": 8000,
    "model": {"sha256": "one", "source": "run@1"},
    "config": {"spectrogram": {"n_mels": 256}, "train": {"seed": 0}},
}


def unit(n_rows, *, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def save(folder, name, vectors, *, dim=DIM, **meta):
    with store.Writer(folder, name, dim=dim, meta=META | meta, overwrite=True) as writer:
        for number, start in enumerate(range(0, len(vectors), ROWS)):
            writer.append(f"t{number}", 6.5, vectors[start : start + ROWS])
        writer.finish()


@pytest.fixture
def folder(tmp_path):
    """Writes a store that can be evaluated: ten tracks, and queries that are the same rows."""
    for name in ("db", "query"):
        save(tmp_path / "s", name, unit(10 * ROWS))
    return tmp_path / "s"


def run(folder, **settings):
    """Evaluates. An index that is built would be kept."""
    request = {"lengths": (1, 3), "index": "IVF4,Flat", "show": False, **settings}
    return evaluate.run(evaluate.Request(store=[str(folder)], out=str(folder.parent / "out"), **request))


def refused(folder, said, *, error=ValueError, **settings):
    with pytest.raises(error, match=said):
        run(folder, **settings)
    assert not (folder.parent / "out").exists()
    assert not list(folder.glob("*.faiss*"))


def changed(folder, name, row, value):
    rows = np.memmap(folder / f"{name}.mm", "<f4", "r+", shape=(10 * ROWS, DIM))
    rows[row] = value
    rows.flush()


def test_the_store_of_these_tests_can_be_evaluated(folder):
    assert run(folder)["hit_rates"]["3"]["song"]["rate"] == 1.0
    assert list(folder.glob("*.faiss"))


@pytest.mark.parametrize("name", ["db", "query"])
def test_a_file_cut_short_is_refused(folder, name):
    path = folder / f"{name}.mm"
    path.write_bytes(path.read_bytes()[:-4])
    refused(folder, rf"{name}.mm has 7676 bytes, but {name}_shape.npy says 120 rows of 16 float32")


@pytest.mark.parametrize("shape", [(119, 16), (120, 8), (120,), (-1, 16), (120, 16, 1)])
def test_a_shape_file_that_disagrees_is_refused(folder, shape):
    np.save(folder / "db_shape.npy", shape)
    refused(folder, r"db_shape.npy says|the two are not of one run")


def test_a_table_of_other_rows_is_refused(folder):
    (folder / "db_tracks.csv").write_text("track,first_row,n_rows,seconds\na,0,60,30\n")
    refused(folder, "accounts for 60 rows, the store has 120")


@pytest.mark.parametrize("name", ["db", "query"])
@pytest.mark.parametrize("value, said", [(np.nan, "has NaN or infinity"), (0, "has length 0"), (1, "has length 4")])
def test_rows_that_are_no_fingerprints_are_refused(folder, name, value, said):
    changed(folder, name, 77, value)
    refused(folder, rf"{name}.mm, row 77 \(t6\): this vector {said}.*extract this store again")


def test_in_a_collection_of_millions_such_a_row_is_found_while_it_is_indexed(folder, monkeypatch):
    """Before work starts, only every other block is checked, so that the start takes seconds."""
    monkeypatch.setattr(collection, "CHECK_ROWS", 60)
    monkeypatch.setattr(collection, "BLOCK_ROWS", 30)
    changed(folder, "db", 40, np.nan)
    stores.read([str(folder)])
    blocks = collection.Collection.blocks
    monkeypatch.setattr(collection.Collection, "blocks", lambda self: blocks(self, 30))
    refused(folder, r"db.mm, row 40 \(t3\): this vector has NaN")


@pytest.mark.parametrize("ids", [[0, 120], [-1, 5]])
def test_ids_out_of_range_are_refused(folder, ids):
    np.save(folder / "ids.npy", ids)
    refused(folder, r"outside 0 .. 119, the first is", ids=str(folder / "ids.npy"))


@pytest.mark.parametrize("ids, said", [([], r"holds float64 \[0\]"), ([0.5], "row numbers")])
def test_ids_that_are_none_are_refused(folder, ids, said):
    np.save(folder / "ids.npy", ids)
    refused(folder, said, ids=str(folder / "ids.npy"))
    refused(folder, "no such file", ids=str(folder / "other.npy"), error=FileNotFoundError)


@pytest.mark.parametrize("name", ["db", "query", "dummy_db", "strangers"])
@pytest.mark.parametrize(
    "meta, said",
    [
        ({"model": {"sha256": "two"}}, "model is 'one' in one and 'two' in the other"),
        ({"sample_rate_hz": 16000}, "sample_rate_hz is 8000 in one and 16000|16000 in one"),
        ({"segment_s": 2.0}, "segment_s is"),
        ({"config": {"spectrogram": {"n_mels": 64}}}, "spectrogram settings is"),
    ],
)
def test_stores_of_other_models_or_settings_are_refused(folder, name, meta, said):
    unknown = "strangers" if name == "strangers" else None
    for each in ("dummy_db", "strangers"):
        save(folder, each, unit(ROWS, seed=1))
    save(folder, name, unit(10 * ROWS), **meta)
    said = said if name == "strangers" else said.split(" in one")[0].split(" is")[0]
    refused(folder, f"cannot be mixed: {said}", unknown=unknown)


def test_a_store_from_before_a_setting_has_the_value_that_it_was_made_by(folder):
    settings = config_lib.default().spectrogram.to_dict()
    save(folder, "dummy_db", unit(ROWS, seed=1), config={"spectrogram": settings})
    older = {key: value for key, value in settings.items() if key != "front_end"}
    save(folder, "db", unit(10 * ROWS), config={"spectrogram": older})
    collection.require_one_model([store.Store.open(folder, name) for name in ("dummy_db", "db")])


def test_where_a_model_lay_and_how_it_was_trained_is_no_difference(folder):
    config = META["config"] | {"train": {"seed": 1}}
    save(folder, "query", unit(10 * ROWS), model={"sha256": "one", "source": "x"}, config=config)
    assert run(folder)["hit_rates"]["3"]["song"]["rate"] == 1.0


def test_stores_of_other_dimensions_are_refused(folder):
    save(folder, "query", unit(10 * ROWS)[:, :8], dim=8)
    refused(folder, "dim is 16 in one and 8 in the other")


@pytest.mark.parametrize("name", ["db", "query", "dummy_db"])
def test_an_empty_store_is_refused(folder, name):
    save(folder, name, unit(0))
    refused(folder, rf"the store '{name}' is empty, it has no rows", dummy="dummy_db")


def test_an_unfinished_store_is_refused(folder):
    with store.Writer(folder, "more", dim=DIM, meta=META) as writer:
        writer.append("a", 1.0, unit(2))
    refused(folder, "unfinished; run the same `nafp extract` again", query="more", error=OSError)


def test_a_missing_folder_is_refused(folder):
    refused(folder.parent / "nowhere", "no such folder of fingerprints", error=FileNotFoundError)


def test_queries_that_are_not_the_rows_of_the_database_need_a_truth_file(folder):
    save(folder, "query", unit(5 * ROWS))
    refused(folder, r"60 rows and the database 120.*--truth=expected.csv")


def test_a_truth_file_that_is_not_there_is_refused(folder):
    refused(folder, "no such file", truth=str(folder / "none.csv"), error=FileNotFoundError)


def test_columns_to_group_by_are_checked_before_the_index_is_built(folder):
    with open(folder / "truth.csv", "w", newline="") as out:
        csv.writer(out).writerows([["query", "answer", "snr"], ["t0", "t0", 3]])
    refused(folder, "--group=noise: there is snr", truth=str(folder / "truth.csv"), group=["noise"])


def test_what_a_store_says_of_itself_must_be_readable(folder):
    (folder / "db.json").write_text(json.dumps(META)[:-3])
    refused(folder, "db.json")
