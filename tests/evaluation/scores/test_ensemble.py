"""Two systems together, against what pfann's own programs said of the same rows (tests/vectors/ensemble)."""

import csv
import json
import pathlib

import numpy as np
import pytest

from nafp import errors

ensemble = pytest.importorskip("evaluation.scores.ensemble", exc_type=ImportError)
VECTORS = pathlib.Path(__file__).parents[2] / "vectors" / "ensemble"
VALIDATION = f"{VECTORS}/val_nn.tsv,{VECTORS}/val_lm.tsv,{VECTORS}/val_expected.csv"


@pytest.fixture(scope="module")
def theirs():
    with np.load(VECTORS / "ensemble.npz") as saved:
        return {**saved, **json.loads((VECTORS / "ensemble.json").read_text())}


@pytest.fixture(scope="module")
def scored(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    for name in ("train_nn", "train_lm"):
        np.save(folder / f"{name}.npy", theirs[name])
    train, pairs = f"{folder}/train_nn.npy,{folder}/train_lm.npy", [f"val={VALIDATION}", f"again={VALIDATION}"]
    return ensemble.run(train, pairs, out=str(folder), songs=str(VECTORS / "songs.txt"), show=False), folder


def test_rows_are_read_out_of_the_files_of_both_systems(theirs):
    pair = ensemble.read(VALIDATION, ensemble._song_names(str(VECTORS / "songs.txt")))
    np.testing.assert_array_equal(pair.first, theirs["val_nn"])
    np.testing.assert_array_equal(pair.second, theirs["val_lm"])


def test_there_are_as_many_machines_as_theirs(theirs, scored):
    assert len(scored[0]) == theirs["n_models"]


def test_every_linear_machine_is_theirs(theirs):
    pair = ensemble.Pair("train", theirs["train_nn"], theirs["train_lm"])
    for (_, machine), their in zip(ensemble.machines(), theirs["linear"].values(), strict=False):
        machine.fit(pair.scores[pair.is_split], pair.first[pair.is_split, 1])
        np.testing.assert_allclose(machine.coef_, their["coef"], rtol=1e-3)
        np.testing.assert_allclose(machine.intercept_, their["intercept"], rtol=1e-3)


def test_the_accuracies_over_all_queries_are_theirs(theirs, scored):
    said = dict(line.rsplit(" acc=", 1) for line in theirs["validation_output"] if " acc=" in line)
    assert len(said) == 26
    for name, accuracy in said.items():
        words = name.removesuffix(".pkl").removeprefix("lin_C").removeprefix("rbf_C").split("_gamma")
        ours = scored[0][" ".join(f"{float(word):g}" for word in words)][0].all
        assert f"{ours:.4f}" == accuracy, name


def test_one_column_a_query_set_is_written_where_exactly_one_is_right(theirs, scored):
    _, folder = scored
    pair = ensemble.Pair("val", theirs["val_nn"], theirs["val_lm"])
    right = np.where(theirs["val_pred_lin_C100"] == 1, pair.first[:, 1], pair.second[:, 1])
    rows = list(csv.reader((folder / "linear.csv").read_text().splitlines()))
    assert rows[0] == ["C", "val", "again"]
    assert [row[0] for row in rows[1:]] == [f"{cost:g}" for cost in ensemble.COSTS]
    (row,) = [row for row in rows if row[0] == "100"]
    assert row[1:] == [f"{right[pair.is_split].mean():.6f}"] * 2
    assert len((folder / "rbf.csv").read_text().splitlines()) == 1 + 13 * 13
    assert len((folder / "rbf_all.csv").read_text().splitlines()) == 1 + 13 * 13


def test_scores_of_a_detail_file_will_do(tmp_path):
    (tmp_path / "a_detail.csv").write_text("query,answer,score,time\nx/q1.wav,s1.mp3,0.5,1\nq2.wav,error,-inf,0\n")
    (tmp_path / "t.csv").write_text("query,answer,time\nq1.mp3,y/s1.wav,1\nq2.mp3,s2.wav,1\n")
    np.save(tmp_path / "b.npy", [[1, 0], [2, 1]])
    pair = ensemble.read(f"{tmp_path}/a_detail.csv,{tmp_path}/b.npy,{tmp_path}/t.csv", {})
    np.testing.assert_array_equal(pair.first, [[0.5, 1], [0, 0]])
    assert (pair.name, pair.is_split.tolist()) == ("a_detail", [True, True])


@pytest.mark.parametrize(
    "train, songs, said",
    [
        ("a.tsv", "songs.txt", "a query set is NAME=FIRST,SECOND,TRUTH"),
        ("val_nn.tsv,val_lm.tsv", "songs.txt", "without a truth file"),
        ("val_nn.tsv,val_lm.tsv,val_expected.csv", None, "--songs names the songs"),
        ("val_nn.tsv,val_nn.tsv,val_expected.csv", "songs.txt", "each system must be right alone"),
        ("nowhere.npy,nowhere.npy", None, "no such file"),
        ("val_nn.tsv,val_lm.tsv,val_expected.csv", "nowhere.txt", "no such file"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, monkeypatch, train, songs, said):
    monkeypatch.chdir(VECTORS)
    with pytest.raises(errors.Error, match=said):
        ensemble.run(train, [], out=str(tmp_path), songs=songs, second="network", show=False)
