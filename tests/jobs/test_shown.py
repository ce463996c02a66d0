"""No name or tag of somebody else commands a terminal or a spreadsheet. JSON stays exact."""

import json
import logging
import os
import sqlite3
import sys

import pytest

from evaluation.scores import tables
from launch import log_lines
from nafp.audio import decode
from nafp.corpora import manifest
from nafp.database import catalogue
from nafp.fingerprints import extract, per_track
from nafp.identify import answers
from nafp.jobs import progress, shown
from nafp.monitor import lines, stretches
from nafp.verbs import duplicates_table, merge, remove, verify
from nafp.verbs import list as listing
from tests import commands, databases

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


def test_the_log_shows_why_there_was_a_defect():
    try:
        raise ZeroDivisionError("by\x1b")
    except ZeroDivisionError:
        record = logging.LogRecord("nafp.serving", logging.ERROR, "guard.py", 1, "a defect", (), sys.exc_info())
    lines = log_lines.Formatter().format(record).splitlines()
    assert (lines[0], lines[-1]) == ("a defect", "ZeroDivisionError: by\\x1b")
    assert "test_shown.py" in lines[2]


def test_a_remark_is_heard_while_decoders_are_hushed(capfd):
    handler = logging.StreamHandler(log_lines.StandardError())
    handler.setFormatter(log_lines.Formatter())
    with decode.hushed():
        os.write(2, b"[src/libmpg123/layer3.c] noise")
        handler.emit(logging.makeLogRecord({"name": "nafp.audio.decode", "msg": "a.wav: a remark", "levelno": 30}))
    assert capfd.readouterr().err == "a.wav: a remark\n"


def test_no_verb_shows_a_name_of_a_database_raw(tmp_path, capsys):
    databases.filled(tmp_path / "a", 1).close()
    databases.filled(tmp_path / "b", 3, first=1).close()
    for folder, names in (("a", [EVIL]), ("b", [EVIL, f"{EVIL}2", f"{EVIL}3"])):
        with sqlite3.connect(tmp_path / folder / catalogue.FILE) as connection:
            for number, name in enumerate(names, 1):
                connection.execute("update tracks set name = ?, damage = ? where id = ?", (name, EVIL, number))
        connection.close()
        (tmp_path / folder / catalogue.COPY).unlink()
    log = tmp_path / "b" / "fingerprints-0000.log"
    log.write_bytes(log.read_bytes()[:-1000] + bytes(1000))
    one, other = str(tmp_path / "a"), str(tmp_path / "b")
    verify.run(other)
    merge.run(one, [other])
    for format in ("text", "csv", "tsv", "names"):
        listing.run(one, [], format=format)
    listing.run(one, [f"*{EVIL}*x"])
    remove.run(one, [EVIL + "nothing"])
    remove.run(one, [f"{EVIL}2"])
    row = duplicates_table.Row(EVIL, EVIL, "whole", 1.0, 1.0, 3.0, 0.0, EVIL, EVIL)
    print(duplicates_table.describe(duplicates_table.Table([row], 2, 1), most=3))
    report = extract.ExtractionReport(0, 0, 0.0, [(EVIL, EVIL)], [(EVIL, EVIL)])
    print(per_track.describe(report, 0, EVIL, wall_s=1.0))
    print(tables.plain(["a", EVIL], [[EVIL, "1"]]))
    said = capsys.readouterr()
    for line in (said.out + said.err).replace("\t", "").split("\n"):
        assert line.isprintable(), line
        assert not line.startswith("line")
    assert (said.out + said.err).count("fake\\nline") > 15
