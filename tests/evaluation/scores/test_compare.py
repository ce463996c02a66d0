"""Two runs side by side: paired where they can be, and modest about small differences."""

import json

import numpy as np
import pytest

from evaluation.scores import compare, metrics, results
from evaluation.scores import questions as protocol

LENGTHS = (1, 5)


def scored(rates, *, n=200, seed=0, names=None, per_song=4):
    """Returns a run in which each question is right with the probability of its length."""
    draws = np.random.default_rng(seed).random((n, 1))
    right = draws < np.array(rates)
    nothing = np.zeros((n, 1))
    questions = protocol.Questions(
        names or [f"q{i}" for i in range(n)],
        np.arange(n),
        np.full(n, 5),
        nothing.astype(int),
        nothing,
        {},
        [f"s{i // per_song}" for i in range(n)],
    )
    shape = (n, len(LENGTHS), 10)
    answers = metrics.Answers(
        np.zeros(shape, int),
        np.zeros(shape),
        np.zeros(shape, np.float32),
        np.zeros(shape[:2]),
        np.ones(shape[:2], bool),
    )
    asked = np.ones_like(right)
    return results.Scored(
        questions,
        answers,
        dict.fromkeys(metrics.METRICS, right),
        dict.fromkeys(metrics.METRICS, asked),
        LENGTHS,
    )


def saved(folder, run):
    found = {
        "hit_rates": results.hit_rates(run),
        "groups": {},
        "open_set": None,
        "audio": {"hop_s": 0.5, "segment_s": 1.0},
        "run": {"command": "nafp evaluate"},
    }
    results.save(folder, found, run, "table")
    return str(folder / "results.json")


def compared(tmp_path, *runs):
    paths = [saved(tmp_path / f"r{number}", run) for number, run in enumerate(runs)]
    return compare.run(paths, out=tmp_path / "out")


def test_what_was_saved_is_loaded(tmp_path):
    run = scored((0.5, 0.9))
    _, again = results.load(saved(tmp_path / "r", run))
    assert again.questions.names == run.questions.names
    assert again.lengths == LENGTHS
    np.testing.assert_array_equal(again.right["exact"], run.right["exact"])


def test_a_large_difference_is_larger_than_chance(tmp_path, capsys):
    found = compared(tmp_path, scored((0.5, 0.9)), scored((0.7, 0.9)))
    one, five = (found["differences"]["exact"]["r1"][n] for n in ("1", "5"))
    assert one["beyond_chance"]
    assert one["test"] == "McNemar"
    assert one["only_first"] == 0
    assert one["low"] <= one["difference"] <= one["high"]
    assert (five["difference"], five["p"], five["beyond_chance"]) == (0, 1, False)
    said = capsys.readouterr().out
    assert "r1, difference" in said
    assert "*" in said
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["rates"] == found["rates"]
    assert (tmp_path / "out" / "compare.md").read_text().startswith("| top-1 exact, %")


def test_chance_alone_is_not_called_a_difference(tmp_path):
    found = compared(tmp_path, *(scored((0.6, 0.8), seed=seed) for seed in range(4)))
    cells = [c for system in found["differences"]["exact"].values() for c in system.values()]
    assert len(cells) == 6
    assert not any(cell["beyond_chance"] for cell in cells)


def test_one_recording_alone_makes_no_difference(tmp_path):
    """All sixty questions are of one song. McNemar's test alone would call the difference certain."""
    one, other = (scored((0.5, 0.9), per_song=60, n=600) for _ in range(2))
    other.right["exact"][:60] = True
    cell = compared(tmp_path, one, other)["differences"]["exact"]["r1"]["1"]
    assert cell["corrected_p"] < 1e-6
    assert cell["low"] <= 0
    assert not cell["beyond_chance"]


def test_seeds_of_one_system_are_averaged(tmp_path):
    paths = [saved(tmp_path / f"r{s}", scored((0.5 + 0.1 * (s > 2), 0.8), seed=s)) for s in range(6)]
    found = compare.run([f"base={','.join(paths[:3])}", f"new={','.join(paths[3:])}"])
    cell = found["rates"]["exact"]["base"]["1"]
    assert cell["runs"] == 3
    assert cell["deviation"] > 0
    assert cell["asked"] == 600
    gap = found["differences"]["exact"]["new"]["1"]
    assert gap["test"] == "bootstrap over songs"
    assert gap["difference"] == pytest.approx(0.1, abs=0.06)


def test_other_questions_are_compared_by_rate_alone(tmp_path):
    other = scored((0.8, 0.9), names=[f"x{i}" for i in range(200)])
    found = compared(tmp_path, scored((0.5, 0.9)), other)
    assert found["differences"]["exact"]["r1"]["1"]["test"] == "two proportions"
    assert found["differences"]["exact"]["r1"]["1"]["beyond_chance"]
    assert "other questions" in found["notes"][0]


def test_files_that_are_no_results_are_refused(tmp_path):
    good = saved(tmp_path / "r", scored((0.5, 0.9)))
    with pytest.raises(ValueError, match="at least two"):
        compare.run([good])
    with pytest.raises(ValueError, match="one name"):
        compare.run([good, good])
    with pytest.raises(FileNotFoundError, match="no results here"):
        compare.run([good, str(tmp_path / "nowhere" / "results.json")])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match="no hit_rates"):
        compare.run([good, str(tmp_path / "other.json")])
