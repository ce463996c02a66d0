"""Files of answers of any system, against the counts of pfann's tools/accuracy.py (tests/vectors/pfann_match)."""

import json
import pathlib

import pytest

from evaluation.scores import compare, result_files
from nafp import errors

VECTORS = pathlib.Path(__file__).parents[2] / "vectors" / "pfann_match"
TRUTH = "query,answer,time,condition\nq/a.wav,x/s1.mp3,1.0,loud\nb.wav,s2.mp3,3.0,quiet\nc.wav,,,quiet\n"


@pytest.mark.parametrize(
    "case, answers, truth",
    [
        ("border", "border_detail.csv", "border_expected.csv"),
        ("mul1", "result1_detail.csv", "expected.csv"),
        ("mul2", "result2_detail.csv", "expected.csv"),
        ("mul4", "result4_detail.csv", "expected.csv"),
    ],
)
def test_the_counts_are_those_of_pfann(tmp_path, case, answers, truth):
    result_files.run(str(VECTORS / answers), truth=str(VECTORS / truth), out=str(tmp_path), show=False)
    scored = result_files.score(result_files.read(VECTORS / answers), _truth(VECTORS / truth))
    assert result_files.counts(scored) == json.loads((VECTORS / "accuracy.json").read_text())[f"accuracy {case}"]
    saved = json.loads((tmp_path / "results.json").read_text())["hit_rates"]["0"]
    assert f"song correct {saved['song']['hits']} " in result_files.counts(scored)[2]


def _truth(path):
    from evaluation.scores import questions

    return questions.read_truth(path)


@pytest.mark.parametrize("away_s, exact, near", [(0.25, 1, 1), (0.2504, 0, 1), (0.5, 0, 1), (0.5004, 0, 0)])
def test_a_quarter_of_a_second_is_a_quarter_of_a_second(away_s, exact, near):
    answers = [result_files.FileAnswer("a.wav", "s1.mp3", 1.0 + away_s, 1.0)]
    scored = result_files.score(answers, [{"query": "a.wav", "answer": "s1.mp3", "time": "1.0"}])
    assert (scored.right["exact"][0, 0], scored.right["near"][0, 0]) == (exact, near)


def run(tmp_path, answers, *, name="answers.csv", truth=TRUTH, **settings):
    (tmp_path / name).write_text(answers)
    (tmp_path / "expected.csv").write_text(truth)
    return result_files.run(
        str(tmp_path / name),
        truth=str(tmp_path / "expected.csv"),
        out=str(tmp_path / f"out-{name}"),
        show=False,
        **settings,
    )


def cells(record):
    return {name: (cell["hits"], cell["asked"]) for name, cell in record["hit_rates"]["0"].items()}


def test_what_nafp_identify_prints_can_be_scored(tmp_path):
    text = (
        "query,seconds,rank,track,start_s,score,probability,margin,speed,error\n"
        "a.wav,5,1,y/s1.mp3,1.1,0.9,0.9,0.5,1,\na.wav,5,2,s2.mp3,1.1,0.4,0.1,0,1,\n"
        "b.wav,5,1,s2,3.4,0.9,0.9,0.5,1,\nc.wav,5,,,,,,,,\n"
    )
    record = run(tmp_path, text)
    assert cells(record) == {"exact": (1, 2), "near": (2, 2), "top3": (0, 0), "top10": (0, 0), "song": (2, 2)}
    assert record["questions"] == {"all": 3, "known": 2, "unknown": 1, "songs": 3}
    assert cells({"hit_rates": record["groups"]["condition"]["loud"]})["song"] == (1, 1)


def test_without_times_only_songs_are_judged(tmp_path):
    record = run(tmp_path, "a.wav\tx/s1.mp3\nb.wav\terror\n", name="result.tsv")
    assert cells(record) == {"exact": (0, 0), "near": (0, 0), "top3": (0, 0), "top10": (0, 0), "song": (1, 2)}


def test_any_of_several_right_answers_will_do(tmp_path):
    truth = "query,answer,time\na.wav,s1.mp3,1\na.wav,s2.mp3,7\n"
    record = run(tmp_path, "query,answer,score,time\na.wav,s2.mp3,0.5,7\n", truth=truth)
    assert cells(record)["exact"] == (1, 1)


def test_two_systems_can_be_compared(tmp_path):
    header = "query,answer,score,time\n"
    run(tmp_path, f"{header}a.wav,s1.mp3,1,1\nb.wav,s2.mp3,1,3\n", name="good.csv")
    run(tmp_path, f"{header}a.wav,s1.mp3,1,1\nb.wav,s1.mp3,1,9\n", name="bad.csv")
    systems = [f"{name}={tmp_path}/out-{name}.csv" for name in ("good", "bad")]
    comparison = compare.compare(compare.read(systems))
    assert comparison["differences"]["song"]["bad"]["0"]["only_first"] == 1
    assert "whole clip" in compare.report(comparison)


@pytest.mark.parametrize(
    "answers, said",
    [
        ("query,score\na.wav,1\n", "no column answer or track"),
        ("a.wav s1.mp3\n", "no file of answers"),
        ("query,answer,score,time\na.wav,s1.mp3,1,soon\n", "'soon' is no number"),
        ("query,answer\naa.wav,s1.mp3\n", "such as aa.wav, have no truth. Did you mean 'a.wav'"),
        ("query,answer\n", "there are no answers"),
    ],
)
def test_what_cannot_be_scored_says_why(tmp_path, answers, said):
    with pytest.raises(errors.Invalid, match=said):
        run(tmp_path, answers)


def test_the_truth_is_needed(tmp_path):
    with pytest.raises(errors.Invalid, match="--truth"):
        result_files.run(str(VECTORS / "result1.tsv"), truth=None, out=str(tmp_path))
