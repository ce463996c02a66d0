"""What the command line does: lines as they are found, codes, and going on after an interruption."""

import csv
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode, live
from nafp.database import database
from nafp.monitor import lines as sheets
from nafp.monitor import stretches
from nafp.monitor.stretches import Stretch
from nafp.search import confidence
from nafp.verbs import monitor
from nafp.weights import calibrations
from tests import commands, databases, networks, stores

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:4]
RATE_HZ = 8000
OPEN_COLLECTION = monitor.open_collection


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Makes a database of three tracks and a recording in which two of them and another one are played."""
    folder = tmp_path_factory.mktemp("watching")
    there = database.Database.create(folder / "db", network="small")
    network = networks.small()
    with there.writer() as writing:
        for path in MUSIC[:3]:
            samples = decode.load(path, sample_rate_hz=RATE_HZ)
            seconds = len(samples) / RATE_HZ
            known = {"digest": path.name, "metadata": {}}
            writing.append(str(path), seconds, network.track(samples), **known)
    parts = [
        decode.load(MUSIC[i], sample_rate_hz=RATE_HZ, start_s=start_s, seconds=14) for i, start_s in ((0, 5), (2, 2))
    ]
    silence = np.zeros(8 * RATE_HZ, np.float32)
    long = np.concatenate([parts[0], silence, parts[1]])
    decode.write_wav(folder / "long.wav", long, sample_rate_hz=RATE_HZ)
    decode.write_wav(folder / "silence.wav", silence, sample_rate_hz=RATE_HZ)
    (folder / "bad.wav").write_text("no sound at all")
    return folder


@pytest.fixture(autouse=True)
def opened_once(monkeypatch, opened={}):  # noqa: B006 - compiles the network for the first test only
    def once(request, **settings):
        if request.database not in opened:
            opened[request.database] = OPEN_COLLECTION(request, **settings)
        return opened[request.database]

    monkeypatch.setattr(monitor, "open_collection", once)


def run(place, *names, **settings):
    settings = {"max_speed": 0.0, "format": "json"} | settings
    where = [str(place / name) for name in names]
    return monitor.run(monitor.MonitorRequest(where, str(place / "db"), **settings))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_tracks_and_what_is_unknown_are_said_in_order(place, capsys):
    assert run(place, "long.wav") == monitor.FOUND
    found = lines(capsys.readouterr().out)
    assert [one["track"] for one in found] == [str(MUSIC[0]), None, str(MUSIC[2])]
    for one, (start_s, end_s, from_s) in zip(found, ((0, 14, 5), (14, 22, None), (22, 36, 2))):
        assert one["start_s"] == pytest.approx(start_s, abs=2)
        assert one["end_s"] == pytest.approx(end_s, abs=2)
        if from_s is not None:
            shift_s = one["start_s"] - start_s
            assert one["track_start_s"] - shift_s == pytest.approx(from_s, abs=0.5)
            assert one["speed"] == pytest.approx(1, abs=0.02)
        assert one["recording"] == str(place / "long.wav")
        assert "heard_at" not in one


def test_a_store_takes_the_calibration_of_its_network_and_every_collection_one_by_name(place, tmp_path):
    network, sound = networks.small(), decode.load(MUSIC[0], sample_rate_hz=RATE_HZ, seconds=15)
    stores.write(tmp_path, "db", {str(MUSIC[0]): network.track(sound)}, model=dict(network.identity))
    other = confidence.Confidence([1, 19], np.array([[-6.0, 40.0, 0.0]] * 2))
    other.save(tmp_path / "other.json")
    own = calibrations.beside("small").as_record()
    for where in ({"store": str(tmp_path)}, {"database": str(place / "db")}):
        request = monitor.MonitorRequest([], **where, runtime="numpy")
        assert OPEN_COLLECTION(request).calibrated.as_record() == own
        named = OPEN_COLLECTION(request._replace(confidence=str(tmp_path / "other.json"))).calibrated
        assert named.as_record() == other.as_record()
        with pytest.raises(errors.NotFound, match="--confidence=nowhere: no such file"):
            OPEN_COLLECTION(request._replace(confidence="nowhere", runtime="jax"), prepare=pytest.fail)
    request = monitor.MonitorRequest([str(place / "long.wav")], store=str(tmp_path), max_speed=0.0, format="json")
    assert monitor.run(request) == monitor.FOUND


def test_jax_alone_is_prepared_for(place):
    prepared = []
    for runtime in ("numpy", "jax"):
        request = monitor.MonitorRequest([], str(place / "db"), runtime=runtime)
        OPEN_COLLECTION(request, prepare=lambda runtime=runtime: prepared.append(runtime))
    assert prepared == ["jax"]


def test_nothing_found_and_bad_files_have_codes_of_their_own(place, capsys):
    assert run(place, "silence.wav") == monitor.NOTHING
    assert [one["track"] for one in lines(capsys.readouterr().out)] == [None]
    assert run(place, "bad.wav", "long.wav", unknown=False) == monitor.FAILED
    said = capsys.readouterr()
    assert "bad.wav" in said.err
    assert len(lines(said.out)) == 2


def test_a_table_has_a_header_and_goes_into_a_file(place, tmp_path):
    out = tmp_path / "found.csv"
    assert run(place, "long.wav", format="csv", out=str(out)) == monitor.FOUND
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["track"] for row in rows] == [str(MUSIC[0]), "", str(MUSIC[2])]
    assert tuple(rows[0]) == sheets.COLUMNS


def test_an_interrupted_command_goes_on_and_says_nothing_twice(place, tmp_path, monkeypatch):
    expected, out, state = tmp_path / "whole", tmp_path / "out", tmp_path / "state"
    run(place, "silence.wav", "long.wav", out=str(expected))
    settings = {"out": str(out), "state": str(state)}
    blocks = live.blocks

    def interrupted(name, **about):
        for block in blocks(name, **about):
            for at in range(0, len(block), 5 * RATE_HZ):
                if "long" in name and at >= 25 * RATE_HZ:
                    raise KeyboardInterrupt
                yield block[at : at + 5 * RATE_HZ]

    with monkeypatch.context() as patched:
        patched.setattr(live, "blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(place, "silence.wav", "long.wav", **settings)
    with open(out, "a") as file:
        file.write('{"half a li')  # What was written before the state was.
    assert run(place, "silence.wav", "long.wav", **settings) == monitor.FOUND
    assert out.read_text() == expected.read_text()
    assert run(place, "silence.wav", "long.wav", **settings) == monitor.FOUND
    assert out.read_text() == expected.read_text()


def test_a_search_engine_that_is_lost_ends_the_command_and_the_next_one_goes_on(place, tmp_path, monkeypatch):
    expected, out = tmp_path / "whole", tmp_path / "out"
    run(place, "long.wav", out=str(expected))
    blocks, hear, n_heard = live.blocks, stretches.Monitor.hear, []

    def short(name, **about):
        for block in blocks(name, **about):
            yield from np.split(block, range(5 * RATE_HZ, len(block), 5 * RATE_HZ))

    def losing(self, block):
        n_heard.append(len(block))
        if len(n_heard) == 5:
            raise errors.EngineFailed("Milvus at http://milvus.example:19530: searching: gone")
        return hear(self, block)

    monkeypatch.setattr(live, "blocks", short)
    monkeypatch.setattr(stretches.Monitor, "hear", losing)
    with pytest.raises(errors.EngineFailed, match="searching: gone"):
        run(place, "long.wav", out=str(out), state=str(tmp_path / "state"))
    assert run(place, "long.wav", out=str(out), state=str(tmp_path / "state")) == monitor.FOUND
    assert out.read_text() == expected.read_text()


def test_a_state_of_other_settings_or_of_another_file_is_refused(place, tmp_path):
    state, recording = tmp_path / "state", tmp_path / "a.wav"
    recording.write_bytes((place / "silence.wav").read_bytes())
    settings = {"state": str(state), "format": "text"}
    request = monitor.MonitorRequest([str(recording)], str(place / "db"), max_speed=0.0, **settings)
    assert monitor.run(request) == monitor.NOTHING
    with pytest.raises(ValueError, match=r"other settings \(max_speed\)"):
        monitor.run(request._replace(max_speed=3.0))
    recording.write_bytes((place / "long.wav").read_bytes())
    with pytest.raises(ValueError, match="has changed since"):
        monitor.run(request)
    state.write_text("[]")
    with pytest.raises(ValueError, match="is not a state of nafp monitor"):
        monitor.run(request)


def test_streams_have_no_state_and_come_one_at_a_time(place):
    request = monitor.MonitorRequest(["http://a/b", "http://c/d"], str(place / "db"))
    with pytest.raises(ValueError, match="cannot be heard again"):
        monitor.run(request._replace(state="x"))
    with pytest.raises(ValueError, match="one stream at a time"):
        monitor.run(request)


def test_a_stream_that_is_stopped_says_what_it_heard(place, monkeypatch, capsys):
    samples = decode.load(place / "long.wav", sample_rate_hz=RATE_HZ)

    clock_s = 0.0

    def stopped(name, **_):
        nonlocal clock_s
        for block in np.split(samples, 36):
            clock_s += 1.0
            yield block
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor.time, "monotonic", lambda: clock_s)

    monkeypatch.setattr(live, "blocks", stopped)
    request = monitor.MonitorRequest(["microphone"], str(place / "db"), max_speed=0.0, format="json", playing=True)
    assert monitor.run(request) == monitor.FOUND
    said = capsys.readouterr()
    found = lines(said.out)
    assert [one["track"] for one in found] == [str(MUSIC[0]), None, str(MUSIC[2])]
    assert all(one["heard_at"] for one in found)  # It came no faster than the clock went.
    assert said.err.count("now playing") >= 2


@pytest.mark.parametrize("moment", ["waiting", "hearing"])
def test_sigterm_loses_nothing_of_a_stream_or_file(place, monkeypatch, capsys, tmp_path, moment):
    samples = decode.load(place / "long.wav", sample_rate_hz=RATE_HZ)[: 12 * RATE_HZ]
    hear, n_heard = stretches.Monitor.hear, 0

    def blocks(name, **_):
        yield from np.split(samples, 12)
        if moment == "waiting":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)  # A station that sends nothing.
        yield np.zeros(RATE_HZ, np.float32)

    def killed(self, block):
        nonlocal n_heard
        n_heard += 1
        if moment == "hearing" and n_heard == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return hear(self, block)

    monkeypatch.setattr(live, "blocks", blocks)
    monkeypatch.setattr(stretches.Monitor, "hear", killed)
    request = monitor.MonitorRequest(["microphone"], str(place / "db"), max_speed=0.0, format="json")
    assert monitor.run(request) == monitor.FOUND
    (found,) = lines(capsys.readouterr().out)
    assert (found["track"], found["end_s"]) == (str(MUSIC[0]), pytest.approx(12, abs=1))
    n_heard, out = 0, tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):  # The next file is not begun.
        run(place, "long.wav", "bad.wav", out=str(out))
    (found,) = lines(out.read_text())
    assert found["track"] == str(MUSIC[0])
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_damaged_track_is_not_named(place, tmp_path, capsys, monkeypatch):
    shutil.copytree(place / "db", tmp_path / "db")
    with database.Database.open(tmp_path / "db") as opened:
        track, log = opened.track(str(MUSIC[0])), opened.rows.path
    data = bytearray(log.read_bytes())
    data[track.first_row * 256 + 3] ^= 1  # One bit of a fingerprint: it is found as before.
    log.write_bytes(data)
    samples = decode.load(place / "long.wav", sample_rate_hz=RATE_HZ, seconds=12)
    decode.write_wav(tmp_path / "short.wav", samples, sample_rate_hz=RATE_HZ)
    assert run(tmp_path, "short.wav", runtime="numpy") == monitor.FAILED
    said = capsys.readouterr()
    assert [one["track"] for one in lines(said.out)] == [None]
    assert said.err.count("fingerprints are damaged") == 1
    assert f"damaged: {log}: the fingerprints of {MUSIC[0]} are not those written" in said.err


def test_an_empty_database_is_said(tmp_path):
    database.Database.create(tmp_path / "db", network=databases.network_file(tmp_path))
    with pytest.raises(ValueError, match="holds no track to look for"):
        monitor.run(monitor.MonitorRequest(["microphone"], str(tmp_path / "db"), runtime="numpy"))


def test_people_read_times_speeds_and_names():
    one = Stretch("/music/Kind of Blue.flac", 65.04, 3725.0, 0.0, 3700.0, 0.81, 0.97, 0.3, 1.021)
    text = sheets.said(one, "set.mp3")
    assert text.startswith("1:05.0 - 1:02:05.0   Kind of Blue   from 0:00.0   speed +2.1 %")
    assert text.endswith("97 % sure")
    assert sheets.said(one._replace(probability=1.0), "set.mp3").endswith("99.9 % sure")
    assert "speed" not in sheets.said(one._replace(speed=1.001), "set.mp3")
    assert sheets.said(Stretch("", 5, 9), "set.mp3") == "0:05.0 - 0:09.0   (unknown)"


def test_the_command_explains_itself_and_says_what_it_lacks():
    explained = commands.nafp("monitor", "--help")
    assert explained.returncode == 0
    assert "nafp monitor DB set.mp3" in explained.stdout
    assert commands.nafp("monitor").returncode == 2


@pytest.mark.slow
def test_the_command_works_in_a_pipe(place):
    """The fast test, of a file, is test_tracks_and_what_is_unknown_are_said_in_order."""
    command = [sys.executable, "-m", "nafp", "monitor"]
    samples = decode.load(place / "long.wav", sample_rate_hz=RATE_HZ)
    heard = subprocess.run(
        [*command, str(place / "db"), "-", "--raw_hz=8000", "--format=json", "--runtime=numpy", "--max_speed=0"],
        cwd=ROOT,
        input=samples.astype("<f4").tobytes(),
        capture_output=True,
    )
    assert heard.returncode == 0
    assert len(lines(heard.stdout.decode())) == 3
