"""What an evaluation refuses, before it starts to work."""

import numpy as np
import pytest

from tests.evaluation.scores.walks import DB, QUERY, run, save_bare


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"ids": "9999"}, "there are 80 ids"),
        ({"ids": "some"}, "a .npy file"),
        ({"index": "IVF8,Foo"}, "neither one of"),
        ({"lengths": ["0"]}, "numbers of segments"),
        ({"lengths": ["x"]}, "numbers of segments"),
        ({"matcher": "best"}, "allowed are diagonal"),
        ({"compat": True, "index": "auto"}, "by its name"),
        ({"compat": True, "index": "l2", "dummy": ""}, "there is none"),
        ({"group": ["snr"]}, "no column"),
        ({"query": "dummy_db"}, "name the right answers in a file"),
        ({"matcher": "vote", "shifts": 2}, "no --shifts"),
    ],
)
def test_what_cannot_be_is_refused_before_work(known, tmp_path, settings, said):
    with pytest.raises(ValueError, match=said):
        run(known, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_missing_store_is_named(known, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no store 'tests'.*db, dummy_db, query"):
        run(known, tmp_path / "out", query="tests")


def test_ids_of_another_store_are_refused(known, tmp_path):
    np.save(tmp_path / "ids.npy", [3, 240])
    with pytest.raises(ValueError, match=r"outside 0 .. 239.*240"):
        run(known, tmp_path / "out", ids=str(tmp_path / "ids.npy"))


def test_vectors_that_are_no_fingerprints_are_refused(tmp_path):
    folder = save_bare(tmp_path / "s", db=2 * DB, query=QUERY)
    with pytest.raises(ValueError, match="length 2"):
        run(folder, tmp_path / "out")
    folder = save_bare(tmp_path / "s", db=DB[:0], query=QUERY)
    with pytest.raises(ValueError, match="'db' is empty"):
        run(folder, tmp_path / "out")
