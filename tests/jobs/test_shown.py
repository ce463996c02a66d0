"""No name or tag of somebody else commands a terminal or a spreadsheet. JSON stays exact."""

import json
import logging

import pytest

from nafp.corpora import manifest
from nafp.identify import answers
from nafp.jobs import progress, shown
from nafp.monitor import lines, stretches
from tests import commands

EVIL = "\x1b]0;title\x07\x1b[2J\rfake\nline\u202e.opus"


@pytest.mark.parametrize(
    "text, plain",
    [
        ("Sigur Rós — Ágætis byrjun 音 👩‍🎤.opus", "Sigur Rós — Ágætis byrjun 音 👩‍🎤.opus"),
        (EVIL, "\\x1b]0;title\\x07\\x1b[2J\\rfake\\nline\\u202e.opus"),
        ("a\udcff\x9b\x7f\u2028b", "a\\xff\\x9b\\x7f\\u2028b"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text, plain):
    assert shown.plain(text) == plain


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-2", "@SUM(1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_compute_is_text(text):
    assert str(shown.cell(text)).startswith("'")
    assert shown.cell("plain = text") == "plain = text"
    assert (shown.cell(-2.5), shown.cell(None)) == (-2.5, None)


def test_answers_and_stretches_show_names_escaped_and_json_exact():
    answer = answers.Answer(EVIL, 1.0, 0.9, 0.99, 0.5)
    reply = answers.Reply(EVIL, 5.0, [answer])
    stretch = stretches.Stretch(EVIL, 0.0, 5.0, 1.0, 6.0, 0.9, 0.9, 0.5, 1.0)
    tables = answers.said(reply, "csv"), lines.said(stretch, EVIL, "csv")
    for text in (answers.said(reply), lines.said(stretch, EVIL), *tables):
        assert not set(text) & set("\x1b\x07\r\n\u202e")
    assert json.loads(answers.said(reply, "json"))["answers"][0]["track"] == EVIL
    assert json.loads(lines.said(stretch, EVIL, "json"))["track"] == EVIL
    formula = answers.Answer("=HYPERLINK(1)", 1.0, 0.9, 0.99, 0.5)
    assert "'=HYPERLINK" in answers.said(answers.Reply("-", 5.0, [formula]), "csv")


def test_reports_and_notes_show_names_on_one_line(capsys):
    text = manifest.report([manifest.Failure(EVIL, "bad\nreason")], "skipped")
    assert text.count("\n") == 2
    with progress.Progress(1, "s", label=EVIL) as bar:
        bar.note(EVIL)
    assert "\x1b]0" not in text + capsys.readouterr().err


def test_a_command_shows_its_error_on_one_line(tmp_path):
    done = commands.nafp("info", tmp_path / EVIL)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_our_remarks_carry_no_prefix_of_the_log():
    from launch import log_lines

    shaped = log_lines.Formatter()
    ours = logging.LogRecord("nafp.audio.decode", logging.WARNING, "decode.py", 1, "%s: damaged", ("a\x1b.wav",), None)
    assert shaped.format(ours) == "a\\x1b.wav: damaged"
    assert shaped.format(logging.LogRecord("absl", logging.WARNING, "x.py", 1, "theirs", (), None)).startswith("W")
