"""Evaluations with a truth file: which answers are right, and by how much a start may be off."""

import pytest

from tests.evaluation.scores.walks import run


def test_a_truth_file_says_what_is_right(clips):
    found = run(str(clips), clips / "out", truth=str(clips / "expected.csv"), group=["condition", "snr"])
    nine = found["hit_rates"]["9"]
    assert nine["song"] == {"hits": 40, "asked": 40, "rate": 1.0, **ends(nine["song"])}
    assert nine["exact"]["hits"] == nine["near"]["hits"] == 40  # 0.4 rows off is exact.
    assert found["questions"] == {"all": 42, "known": 40, "unknown": 2, "songs": 22}
    groups = found["groups"]["condition"]
    assert [groups[name]["9"]["exact"]["asked"] for name in ("quiet", "loud")] == [20, 20]
    assert sum(rates["9"]["exact"]["asked"] for rates in found["groups"]["snr"].values()) == 40
    assert len(found["groups"]["snr"]) <= 12


def ends(cell):
    return {key: cell[key] for key in ("low", "high")}


def test_more_than_half_a_row_is_near_and_more_than_one_is_wrong(clips):
    lines = (clips / "expected.csv").read_text().splitlines()
    shifted = [lines[0]]
    for number, line in enumerate(lines[1:41]):
        cells = line.split(",")
        cells[2] = str(float(cells[2]) + (0.3 if number % 2 else 0.6) + number % 2 * 0.0)
        shifted.append(",".join(cells))
    (clips / "shifted.csv").write_text("\n".join(shifted) + "\n")
    nine = run(str(clips), clips / "out", truth=str(clips / "shifted.csv"))["hit_rates"]["9"]
    # Even ones: 1.2 rows off. Odd ones: 0.4 + 0.6 = 1.0 rows off.
    assert (nine["exact"]["hits"], nine["near"]["hits"], nine["song"]["hits"]) == (0, 20, 40)


def test_several_lines_of_a_query_are_several_right_answers(clips):
    (clips / "two.csv").write_text("query,answer,time\nq0000,song05,0\nq0000,song00,0\nq0001,song05,0\nq0001,,\n")
    nine = run(str(clips), clips / "out", truth=str(clips / "two.csv"))["hit_rates"]["9"]
    assert (nine["exact"]["hits"], nine["exact"]["asked"]) == (1, 2)


@pytest.mark.parametrize(
    "text, said",
    [
        ("query,time\nq0000,0\n", "no column answer"),
        ("query,answer,time\n", "no queries"),
        ("query,answer,time\nother,song00,0\n", "none is in the query store"),
        ("query,answer,time\nq0000,elsewhere,0\n", "none of its answers"),
        ("query,answer,time\nq0000,song00,soon\n", "no number of seconds"),
    ],
)
def test_a_wrong_truth_file_is_explained(clips, text, said):
    (clips / "wrong.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        run(str(clips), clips / "out", truth=str(clips / "wrong.csv"))


@pytest.mark.parametrize("matcher", ["vote", "window"])
def test_other_matchers_answer_the_same_questions(clips, matcher):
    found = run(str(clips), clips / "out", truth=str(clips / "expected.csv"), matcher=matcher, k=4)
    assert found["hit_rates"]["9"]["song"]["rate"] > 0.8
    assert found["hit_rates"]["9"]["song"]["asked"] == 40
