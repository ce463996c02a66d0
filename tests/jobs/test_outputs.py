"""An output replaces neither an input nor what another hand wrote."""

import os

import pytest

from nafp import errors
from nafp.identify import pfann_files
from nafp.jobs import outputs
from nafp.monitor import lines, stretches


def require(path, is_former=lines.is_former, inputs=()):
    outputs.require(path, verb="nafp monitor", is_former=is_former, inputs=inputs)


def test_a_new_or_empty_file_and_a_device_may_be_written(tmp_path):
    (tmp_path / "empty").touch()
    for path in (tmp_path / "new", tmp_path / "empty", "/dev/null"):
        require(path)


@pytest.mark.parametrize("way", ["itself", "a link", "another spelling"])
def test_an_input_is_never_written(tmp_path, way):
    recording = tmp_path / "own.wav"
    recording.write_bytes(b"RIFF")
    out = {"itself": recording, "another spelling": tmp_path / "x" / ".." / "own.wav"}.get(way, tmp_path / "link")
    (tmp_path / "x").mkdir()
    if way == "a link":
        os.symlink(recording, out)
    with pytest.raises(errors.Invalid, match="is an input of this command"):
        require(out, inputs=["-", "missing", str(recording)])
    assert recording.read_bytes() == b"RIFF"


@pytest.mark.parametrize("content", [b"RIFFxxxxWAVE", b"path,seconds\n", b"# Notes\n", b"\0" * 90, b"\xff\xfe"])
def test_what_this_command_did_not_write_is_left_alone(tmp_path, content):
    (tmp_path / "out").write_bytes(content)
    with pytest.raises(errors.Invalid, match="was not written by nafp monitor"):
        require(tmp_path / "out")
    with pytest.raises(errors.Invalid, match="is a folder"):
        require(tmp_path)


@pytest.mark.parametrize("heard_at", ["", "2026-01-31 12:00:00+01:00"])
@pytest.mark.parametrize("track", ["a.mp3", ""])
@pytest.mark.parametrize("format", lines.FORMATS)
def test_former_lines_are_replaced(tmp_path, format, track, heard_at):
    stretch = stretches.Stretch(track, 0.0, 3725.0)
    text = f"{lines.header(format)}\n".lstrip() + lines.said(stretch, "a.wav", format, heard_at=heard_at)
    (tmp_path / "out").write_text(text)
    require(tmp_path / "out")
    (tmp_path / "out").write_text("== a.wav\n")
    require(tmp_path / "out")


def test_a_table_of_pfann_is_two_columns(tmp_path):
    (tmp_path / "out").write_text("a.wav\tb.mp3\n")
    require(tmp_path / "out", pfann_files.is_former)
    (tmp_path / "out").write_text("my notes\nof today\n")
    with pytest.raises(errors.Invalid):
        require(tmp_path / "out", pfann_files.is_former)


def test_results_are_found_in_their_folder_and_in_that_of_a_protocol(tmp_path):
    for folder in ("store", "protocol/results", "many/results-n5", "many/results-n0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "results.json").write_text("{}")
    alone = tmp_path / "store" / "results.json"
    assert outputs.results_file(alone) == outputs.results_file(tmp_path / "store") == alone
    assert outputs.results_file(tmp_path / "protocol") == tmp_path / "protocol" / "results" / "results.json"
    with pytest.raises(errors.NotFound, match="give one of its folders results-n0, results-n5"):
        outputs.results_file(tmp_path / "many")
    for missing in ("nowhere", "nowhere/results.json"):
        with pytest.raises(errors.NotFound, match=r"no results here; nafp evaluate --out=\S*nowhere makes"):
            outputs.results_file(tmp_path / missing)
