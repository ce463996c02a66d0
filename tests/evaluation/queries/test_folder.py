"""Interrupted rendering: what it leaves is gone on with, and nobody can tell afterwards."""

import json
import logging
import pathlib
from typing import Any

import numpy as np
import pytest

from evaluation.queries import folder as rendered
from evaluation.queries import material, rendering
from nafp import errors
from nafp.audio import decode
from nafp.corpora import manifest
from tests import commands, tunes

NAMES = ["clean", "n0~10.room"]
SETTINGS: dict[str, Any] = {"names": NAMES, "count": 6, "seconds": 2.0, "seed": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
    """Writes three tracks, two noises and a room, and returns their manifest."""
    folder = tmp_path_factory.mktemp("place")
    rows = []
    for i in range(3):
        path = tunes.write(folder / f"track{i}.wav", tunes.tune(5 + i, sample_rate_hz=8000), 8000)
        rows.append(manifest.Track(str(path), kind="music"))
    for i in range(2):
        noise = 0.1 * np.random.default_rng(i).normal(size=24000)
        rows.append(manifest.Track(str(tunes.write(folder / f"noise{i}.wav", noise, 8000))))
    decay = np.exp(-np.arange(1000) / 200) * np.random.default_rng(5).normal(size=1000) / 10
    rows.append(manifest.Track(str(tunes.write(folder / "room.wav", np.r_[0.9, decay], 8000))))
    kinds = ["music"] * 3 + ["noise"] * 2 + ["room"]
    rows = [row._replace(kind=kind, split="test") for row, kind in zip(rows, kinds, strict=True)]
    manifest.write(folder / "tracks.csv", rows)
    return folder / "tracks.csv"


@pytest.fixture(scope="module")
def source(place) -> material.Material:
    return material.Material(place)


def bytes_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Stop(Exception):
    pass


def stop_after(monkeypatch, n: int) -> None:
    """Interrupts rendering at the n-th file."""
    real, count = decode.write_wav, []

    def write_wav(*args, **settings):
        count.append(1)
        if len(count) > n:
            raise Stop
        real(*args, **settings)

    monkeypatch.setattr(decode, "write_wav", write_wav)


@pytest.mark.parametrize("n", [0, 1, 5, 11])
def test_interrupted_anywhere_the_bytes_are_the_same(source, tmp_path, monkeypatch, n):
    rendering.render(source, source, tmp_path / "whole", **SETTINGS)
    with monkeypatch.context() as patch:
        stop_after(patch, n)
        with pytest.raises(Stop):
            rendering.render(source, source, tmp_path / "torn", jobs=1, **SETTINGS)
    assert not (tmp_path / "torn" / rendered.SETTINGS).exists()
    rendering.render(source, source, tmp_path / "torn", **SETTINGS)
    assert bytes_of(tmp_path / "torn") == bytes_of(tmp_path / "whole")


def test_what_was_done_is_not_done_again(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stop):
            rendering.render(source, source, tmp_path, jobs=1, **SETTINGS)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)  # Of 12 files, those of four numbers and two conditions are done.
        rendering.render(source, source, tmp_path, jobs=1, **SETTINGS)
    stop_after(monkeypatch, 0)
    assert len(rendering.render(source, source, tmp_path, **SETTINGS)) == 12


def test_a_file_that_was_lost_or_cut_is_rendered_again(source, tmp_path, monkeypatch):
    rendering.render(source, source, tmp_path / "whole", **SETTINGS)
    with monkeypatch.context() as patch:
        stop_after(patch, 8)
        with pytest.raises(Stop):
            rendering.render(source, source, tmp_path / "torn", jobs=1, **SETTINGS)
    one, other, *_ = sorted((tmp_path / "torn").glob("*.wav"))
    one.unlink()
    other.write_bytes(other.read_bytes()[:100])
    with open(tmp_path / "torn" / rendered.JOURNAL, "a") as file:
        file.write('{"number": 5, "ro')  # A line that a kill has cut off.
    rendering.render(source, source, tmp_path / "torn", **SETTINGS)
    assert bytes_of(tmp_path / "torn") == bytes_of(tmp_path / "whole")


def test_a_folder_of_other_settings_is_kept_and_says_what_differs(source, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(Stop):
            rendering.render(source, source, tmp_path, jobs=1, **SETTINGS)
    there = bytes_of(tmp_path)
    with pytest.raises(FileExistsError, match=r"seconds: 2\.0, now 3\.0.*--overwrite"):
        rendering.render(source, source, tmp_path, **{**SETTINGS, "seconds": 3.0})
    assert bytes_of(tmp_path) == there
    rendering.render(source, source, tmp_path, overwrite=True, **{**SETTINGS, "count": 1})
    assert len(list(tmp_path.glob("*.wav"))) == 2


def test_other_recordings_under_the_same_name_are_other_settings(place, source, tmp_path):
    rendering.render(source, source, tmp_path / "q", **SETTINGS)
    fewer = manifest.read(place)[1:]
    manifest.write(tmp_path / "fewer.csv", fewer)
    other = material.Material(tmp_path / "fewer.csv")
    other.path = source.path
    with pytest.raises(FileExistsError, match="pieces"):
        rendering.render(other, other, tmp_path / "q", **SETTINGS)


@pytest.mark.slow
def test_killed_at_any_moment_the_command_goes_on(place, source, tmp_path):
    """The fast test, in one process, is test_interrupted_anywhere_the_bytes_are_the_same."""
    command = ["queries", "render", f"--source={place}"]
    command += ["--count=60", "--seconds=2", "--seed=4", f"--conditions={','.join(NAMES)}"]
    command += [f"--out={tmp_path / 'torn'}", "--jobs=1"]
    running = commands.start(*command)
    running.wait_until(lambda: len(list(tmp_path.glob("torn/*.wav"))) >= 20)
    running.kill()
    done = commands.nafp(*command)
    assert done.returncode == 0, done.stderr
    rendering.render(source, source, tmp_path / "whole", **{**SETTINGS, "count": 60})
    assert bytes_of(tmp_path / "torn") == bytes_of(tmp_path / "whole")


def test_bad_noise_and_bad_responses_are_named_once_and_others_drawn(place, tmp_path, caplog):
    tracks = manifest.read(place)
    broken = tmp_path / "broken.wav"
    tunes.write(broken, tunes.tune(3, sample_rate_hz=8000), 8000)
    silent = tunes.write(tmp_path / "silent.wav", np.zeros(800), 8000)
    extra = [
        manifest.Track(str(broken), kind="noise", split="test", seconds=3.0, sample_rate_hz=8000),
        manifest.Track(str(silent), kind="room", split="test"),
    ]
    manifest.write(tmp_path / "tracks.csv", tracks + extra)
    source = material.Material(tmp_path / "tracks.csv")
    broken.write_bytes(b"RIFF, and nothing more")
    with caplog.at_level(logging.WARNING):
        rows = rendering.render(source, source, tmp_path / "q", names=["n5.room"], count=12, seconds=2)
    assert len(rows) == 12
    assert {row["noise"] for row in rows} <= {"noise0", "noise1"}
    assert {row["reverb"] for row in rows} == {"room"}
    for name in ("broken.wav", "silent.wav"):
        assert len([line for line in caplog.messages if name in line]) == 1


def test_a_range_is_drawn_for_each_query_and_noted(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, names=["n-6~8"], count=9, seconds=2)
    drawn = [float(row["snr"]) for row in rows]
    assert len(set(drawn)) == 9
    assert min(drawn) >= -6
    assert max(drawn) <= 8
    assert {row["condition"] for row in rows} == {"n-6~8"}


def test_a_range_of_speeds_notes_the_rate_of_each_query(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, names=["speed-5~5"], count=4, seconds=2)
    rates = [float(row["rate"]) for row in rows]
    assert len(set(rates)) == 4
    for row, rate in zip(rows, rates, strict=True):
        assert 0.95 <= rate <= 1.05
        heard = decode.load(tmp_path / row["query"], sample_rate_hz=8000)
        assert len(heard) == 16000
        there = decode.load(row["answer"], sample_rate_hz=8000, start_s=float(row["time"]))
        slow = decode.resample(there[: round(16000 * rate)], from_hz=rate, to_hz=1.0)
        middle = slice(2000, 14000)
        error = np.square(heard[middle] - slow[middle]).mean()
        assert error < 0.05 * np.square(heard[middle]).mean()


def test_spliced_seconds_draw_a_range_one_by_one(source, tmp_path):
    (row,) = rendering.render(source, source, tmp_path, names=["n0~10"], count=1, seconds=4, spliced=True)
    assert len(row["snr"].split("|")) == 4


def test_the_journal_is_gone_and_the_settings_say_what_was_asked(source, tmp_path):
    rendering.render(source, source, tmp_path, **SETTINGS)
    assert not (tmp_path / rendered.JOURNAL).exists()
    settings = json.loads((tmp_path / rendered.SETTINGS).read_text())
    assert {key: settings[key] for key in SETTINGS} == SETTINGS


def test_a_finished_folder_reads_back_names_that_are_no_text(tmp_path):
    folder = rendered.Folder(tmp_path / "out", {"count": 1})
    (tmp_path / "out" / "q.wav").write_bytes(b"x")
    folder.note(0, [{"query": "q.wav", "answer": "/m/caf\udce9.wav"}])
    folder.finish([0])
    (row,) = rendered.Folder(tmp_path / "out", {"count": 1}).rows()
    assert row["answer"] == "/m/caf\udce9.wav"


def test_settings_of_something_else_are_no_settings(tmp_path):
    (tmp_path / "queries.json").write_text("[1, 2]")
    with pytest.raises(errors.AlreadyExists, match="holds queries of other settings"):
        rendered.Folder(tmp_path, {"count": 1})
    with pytest.raises(errors.AlreadyExists, match=r"queries\.json, which nafp queries did not write"):
        rendered.Folder(tmp_path, {"count": 1}, overwrite=True)


@pytest.mark.parametrize("letter", ["é", "\U0001f3b5", "\udce9"])
def test_the_file_of_a_query_has_a_name_that_a_disk_takes(letter, tmp_path):
    name = rendering._file_name("q0000_n0~10.room.mic.mp3@16_", letter * 100)
    (tmp_path / f"{name}.123456.part").write_bytes(b"")
    assert name.startswith("q0000_n0~10.room.mic.mp3@16_" + 40 * letter)
    assert rendering._file_name("q0000_clean_", "x" * 100) == f"q0000_clean_{'x' * 60}.wav"
