"""`--compat` against what the original wrote for the same stores (tests/vectors/naf_eval)."""

import pathlib

import numpy as np
import pytest

from evaluation.scores import ids
from nafp import errors
from tests.evaluation.scores.walks import run, save_bare

VECTORS = pathlib.Path(__file__).parents[2] / "vectors" / "naf_eval" / "store.npz"


@pytest.fixture(scope="module")
def theirs():
    with np.load(VECTORS) as saved:
        return dict(saved)


@pytest.fixture
def folder(theirs, tmp_path):
    return save_bare(tmp_path / "store", **{name: theirs[name] for name in ("dummy_db", "db", "query")})


@pytest.mark.parametrize("case, lengths, k", [("k20", (1, 3, 5, 9), 20), ("k3", (1, 3, 5, 9), 3), ("all", (1, 3), 20)])
def test_the_files_of_the_original_are_written_and_equal(theirs, folder, tmp_path, case, lengths, k):
    np.save(tmp_path / "ids.npy", theirs[f"{case}_test_ids"])
    wanted = "ALL" if case == "all" else str(tmp_path / "ids.npy")
    run(folder, tmp_path / "out", compat=True, index="L2", ids=wanted, lengths=lengths, k=k)
    for name in ("raw_score", "test_ids"):
        ours, expected = np.load(tmp_path / "out" / f"{name}.npy"), theirs[f"{case}_{name}"]
        assert ours.dtype == expected.dtype == np.int64
        np.testing.assert_array_equal(ours, expected)


def test_only_compat_writes_them(folder, tmp_path):
    run(folder, tmp_path / "out", lengths=(1,))
    assert not (tmp_path / "out" / "raw_score.npy").exists()


def test_a_number_draws_from_the_same_rows_as_all_and_is_clipped(folder, tmp_path):
    drawn = []
    for number, wanted in enumerate(("10", "9999")):
        run(folder, tmp_path / str(number), compat=True, index="l2", ids=wanted, lengths=(1, 9))
        drawn.append(np.load(tmp_path / str(number) / "test_ids.npy"))
    assert len(set(drawn[0])) == 10
    assert drawn[0].max() < 40 - 9
    np.testing.assert_array_equal(drawn[1], np.arange(40 - 9))
    with pytest.raises(errors.Invalid, match="a query of 40 rows needs more than 40 rows"):
        run(folder, tmp_path / "none", compat=True, index="l2", ids="all", lengths=(40,))


def test_the_ids_of_the_paper_are_found_beside_the_store_or_missed_by_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.NotFound, match=f"{ids.ICASSP_FILE} is not in .*store, ., eval; copy it .*--ids=2000"):
        run(folder, tmp_path / "out", compat=True, index="l2", ids="icassp", lengths=(1,))
    np.save(pathlib.Path(folder) / ids.ICASSP_FILE, [3, 1, 4])
    run(folder, tmp_path / "out", compat=True, index="l2", ids="ICASSP", lengths=(1,))
    assert np.load(tmp_path / "out" / "test_ids.npy").tolist() == [3, 1, 4]
    (tmp_path / "eval").mkdir()
    np.save(tmp_path / "eval" / ids.ICASSP_FILE, [2])
    assert ids.checked("icassp", []) == f"eval/{ids.ICASSP_FILE}"


def test_a_missing_file_of_ids_is_named(folder, tmp_path):
    with pytest.raises(errors.NotFound, match=r"nowhere\.npy: no such file"):
        run(folder, tmp_path / "out", ids="nowhere.npy")


@pytest.mark.parametrize("index, said", [("IVF4,Flat", "trained on 60 rows"), ("l2", "nothing to train")])
def test_how_many_rows_the_index_was_trained_on_is_said(folder, tmp_path, capsys, index, said):
    for _ in ("built", "read"):
        run(folder, tmp_path / "out", compat=True, index=index, lengths=(1,), show=True)
        assert said in capsys.readouterr().out
