"""Sound comes in alike, whatever it comes through."""

import io
import shutil
import subprocess
import sys
import types
from typing import ClassVar

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode, live, microphone
from tests import tunes

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")


@pytest.fixture(scope="module")
def tune(tmp_path_factory):
    return tunes.write(tmp_path_factory.mktemp("live") / "tune.wav", tunes.tune(5.0))


def heard(name, **settings):
    return np.concatenate(list(live.blocks(str(name), sample_rate_hz=8000, **settings)))


def bare(samples):
    return types.SimpleNamespace(buffer=io.BytesIO(samples.astype("<f4").tobytes()))


def test_a_file_is_heard_as_it_is_decoded(tune):
    whole = decode.load(tune, sample_rate_hz=8000)
    np.testing.assert_array_equal(heard(tune), whole)
    np.testing.assert_allclose(heard(tune, start_s=2.0), whole[16000:], atol=1e-5)
    assert live.opened(str(tune)) == (str(tune), False, pytest.approx(5.0))


@needs_ffmpeg
def test_arguments_of_ffmpeg_are_an_input(tune):
    name = f"ffmpeg:-ss 1 -i '{tune}'"
    assert live.opened(name).is_live
    through = heard(name)
    whole = decode.load(tune, sample_rate_hz=8000)[8000:]
    assert len(through) == pytest.approx(len(whole), abs=10)
    n = min(len(through), len(whole))
    assert np.corrcoef(through[:n], whole[:n])[0, 1] > 0.99


@needs_ffmpeg
def test_a_file_of_any_kind_comes_through_standard_input(tune, tmp_path):
    coded = tunes.write(tmp_path / "tune.flac", tunes.tune(5.0))
    code = "from nafp.audio import live; print(sum(map(len, live.blocks('-', sample_rate_hz=8000))))"
    with open(coded, "rb") as file:
        done = subprocess.run([sys.executable, "-c", code], stdin=file, capture_output=True)
    assert int(done.stdout) == pytest.approx(40000, abs=10)


@needs_ffmpeg
@pytest.mark.parametrize("weights", [(1,), (1, 1), (1, -1), (1, -1, 1, -1)])
def test_channels_of_a_stream_are_mixed_as_those_of_a_file(tmp_path, weights):
    tune = tunes.write(tmp_path / "tune.wav", tunes.tune(5.0)[:, None] * weights)
    through, whole = heard(f"ffmpeg:-i '{tune}'"), decode.load(tune, sample_rate_hz=8000)
    n = min(len(through), len(whole))
    assert np.corrcoef(through[:n], whole[:n])[0, 1] ** 2 > 0.98  # Resampled by ffmpeg.


def test_bare_samples_come_through_standard_input(tune, monkeypatch):
    samples = decode.load(tune, sample_rate_hz=16000)
    monkeypatch.setattr(sys, "stdin", bare(samples))
    through = heard("-", raw_hz=16000)
    np.testing.assert_allclose(through, decode.resample(samples, from_hz=16000, to_hz=8000), atol=1e-4)


def test_what_is_no_bare_float_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", bare(np.full(8000, 1e9)))
    with pytest.raises(errors.Undecodable, match="f32le"):
        heard("-", raw_hz=8000)


@needs_ffmpeg
def test_a_stream_that_cannot_be_opened_is_named_with_the_reason():
    with pytest.raises(errors.Undecodable, match=r"tcp://127\.0\.0\.1:9: ffmpeg: "):
        heard("tcp://127.0.0.1:9")


def test_the_microphone_is_brought_to_the_rate_of_the_network(monkeypatch):
    def blocks(*, sample_rate_hz, block_s):
        yield from (np.ones(round(sample_rate_hz * block_s), np.float32) for _ in range(3))

    monkeypatch.setattr(microphone, "blocks", blocks)
    assert len(heard("microphone")) == pytest.approx(24000, abs=2)
    assert live.opened("microphone").is_live


class Stream:
    """A microphone that gives one block of three samples, and then nothing, as one that was unplugged does."""

    opened: ClassVar[list["Stream"]] = []
    is_busy = False

    def __init__(self, *, samplerate, channels, dtype, blocksize, callback):
        self.callback, self.is_closed = callback, False
        Stream.opened.append(self)

    def start(self):
        if self.is_busy:
            raise ValueError("Device unavailable")
        self.callback(np.ones((3, 1), np.float32), 3, None, None)

    def close(self):
        self.is_closed = True


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setattr(microphone, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(Stream, "opened", [])
    fake = types.SimpleNamespace(InputStream=Stream, PortAudioError=ValueError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)


def test_a_microphone_that_was_unplugged_is_told_and_closed(library):
    blocks = microphone.blocks(sample_rate_hz=8000, block_s=0.01)
    assert len(next(blocks)) == 3
    with pytest.raises(errors.MicrophoneUnavailable, match="still plugged in"):
        next(blocks)
    assert Stream.opened[0].is_closed


def test_a_microphone_that_another_program_holds_is_told_and_closed(library, monkeypatch):
    monkeypatch.setattr(Stream, "is_busy", True)
    with pytest.raises(errors.MicrophoneUnavailable, match="cannot be started: Device unavailable"):
        next(microphone.blocks(sample_rate_hz=8000))
    assert Stream.opened[0].is_closed
    with pytest.raises(errors.Invalid, match="longer than 0 s"):
        microphone.record(0.0, sample_rate_hz=8000)


@pytest.mark.parametrize(("name", "reason"), [("ffmpeg:-i 'a", "No closing quotation"), ("ffmpeg: ", "names no input")])
def test_arguments_of_ffmpeg_that_cannot_be_meant_are_refused_in_one_line(monkeypatch, name, reason):
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    for use in (live.check, heard):
        with pytest.raises(errors.Undecodable, match=reason):
            use(name)


def test_urls_and_devices_are_live_and_missing_files_are_an_error(tmp_path):
    assert live.opened("https://radio.example/stream.mp3").is_live
    assert live.opened("/dev/null").is_live
    with pytest.raises(errors.Undecodable, match="cannot be opened"):
        live.opened(str(tmp_path / "nowhere.wav"))


def test_without_ffmpeg_a_stream_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(errors.Undecodable, match=r"needs ffmpeg.*--raw_hz"):
        live.check("-")
    live.check("-", raw_hz=8000)
    live.check("microphone")
