"""Replies in every format say the same."""

import csv
import io
import json

import pytest

from nafp.identify import answers

FOUND = answers.Reply(
    "clips/a, b.wav",
    5.0,
    [
        answers.Answer("music/Kind of Blue.flac", 103.5, 0.81234567, 0.98765432, 0.47, 1.04),
        answers.Answer('say "hi".mp3', -0.25, 0.34, 0.01, -0.47),
    ],
)
UNKNOWN = answers.Reply("clips/x.wav", 5.0, (), FOUND.answers[1])
BROKEN = answers.Reply("clips/y.wav", 0.0, error="empty file, 0 bytes")


def test_json_is_one_object_a_line_with_what_scripts_read():
    record = json.loads(answers.as_json(FOUND))
    assert "\n" not in answers.as_json(FOUND)
    assert list(record) == ["query", "seconds", "answers"]
    assert list(record["answers"][0]) == [
        "track",
        "start_s",
        "score",
        "probability",
        "margin",
        "speed",
        "from_s",
        "to_s",
        "semitones",
    ]
    assert record["answers"][0]["score"] == pytest.approx(0.81234567, abs=1e-4)


def test_what_is_not_in_the_collection_has_no_answers():
    assert json.loads(answers.as_json(UNKNOWN))["answers"] == []
    assert "not in the collection" in answers.as_text(UNKNOWN)


def test_a_clip_that_cannot_be_read_keeps_its_line():
    assert json.loads(answers.as_json(BROKEN)) == {
        "query": "clips/y.wav",
        "seconds": 0.0,
        "answers": [],
        "error": "empty file, 0 bytes",
    }


@pytest.mark.parametrize(
    "speed, semitones, said",
    [(1.0, 4.0, "pitch +4.0 semitones"), (1.25, 3.86, ""), (1.25, 0.0, ""), (1.2, -3.0, "pitch -3.0 semitones")],
)
def test_a_pitch_that_the_speed_does_not_explain_is_told(speed, semitones, said):
    found = FOUND.answers[0]._replace(speed=speed, semitones=semitones)
    text = answers.as_text(answers.Reply("a.wav", 5.0, [found]))
    assert said in text
    assert ("pitch" in text) == bool(said)


def test_a_probability_that_nobody_knows_is_null():
    unsure = answers.Reply("a.wav", 1.0, [FOUND.answers[0]._replace(probability=None)])
    assert json.loads(answers.as_json(unsure))["answers"][0]["probability"] is None
    assert "sure" not in answers.as_text(unsure)


@pytest.mark.parametrize("format, delimiter", [("csv", ","), ("tsv", "\t")])
def test_a_table_has_a_line_for_each_answer_and_each_clip_without_one(format, delimiter):
    lines = [answers.header(format), *(answers.said(r, format) for r in (FOUND, UNKNOWN, BROKEN))]
    table = list(csv.DictReader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    assert [row["query"] for row in table] == [FOUND.query] * 2 + [UNKNOWN.query, BROKEN.query]
    assert [row["rank"] for row in table] == ["1", "2", "", ""]
    assert table[1]["track"] == 'say "hi".mp3'
    assert float(table[0]["speed"]) == 1.04
    assert table[3]["error"] == BROKEN.error


def test_text_says_what_a_person_wants_to_know():
    said = answers.as_text(FOUND).splitlines()
    assert said[0].startswith("a, b.wav (5.0 s)  →  Kind of Blue   at 1:43.5   speed +4.0 %")
    assert "98.8 % sure" in said[0]
    assert "at -0:00.2" in said[1] or "at -0:00.3" in said[1]
    assert "speed" not in said[1]


def test_a_minute_is_never_sixty_seconds():
    late = answers.Reply("a.wav", 1.0, [FOUND.answers[0]._replace(start_s=119.97)])
    assert "at 2:00.0" in answers.as_text(late)
