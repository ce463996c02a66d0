"""PyAV gives what the ffmpeg program gives, and is asked only where that program is missing."""

import contextlib
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from nafp import errors
from nafp.audio import containers, decode, ffmpeg

RECORDING = pathlib.Path(__file__).parent.parent / "recordings" / "music" / "brandenburg-concerto-2.opus"
STEREO = "pan=stereo|c0=c0|c1=0.3*c0"  # The recording is mono.
CODECS = {"m4a": "aac", "webm": "libopus", "wma": "wmav2", "wv": "wavpack"}
needs_both = pytest.mark.skipif(
    not (containers.installed() and ffmpeg.installed()), reason="PyAV or ffmpeg is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Writes six seconds of a recording in stereo, in every format. "cut" is half of the file."""
    folder = tmp_path_factory.mktemp("containers")
    for suffix, codec in CODECS.items():
        options = ["-t", "6", "-i", RECORDING, "-af", STEREO, "-c:a", codec, "-movflags", "+faststart"]
        program(*(options if suffix == "m4a" else options[:-2]), folder / f"whole.{suffix}")
        data = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"cut.{suffix}").write_bytes(data[: len(data) // 2])
    return folder


@contextlib.contextmanager
def without_program():
    """Hides the ffmpeg program during the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        assert not ffmpeg.installed()
        yield


def program(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


def load(path, **options):
    """Returns the samples at 48 kHz, which all the files have, and the complaints."""
    complaints = []
    return decode.load(path, sample_rate_hz=48000, complain=complaints.append, **options), complaints


@needs_both
@pytest.mark.parametrize("suffix", CODECS)
def test_the_samples_are_those_of_ffmpeg(folder, suffix):
    path = folder / f"whole.{suffix}"
    expected, info = load(path)[0], decode.probe(path)
    with without_program():
        samples, complaints = load(path)
        assert decode.probe(path) == pytest.approx(info, abs=0.01)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    assert (samples.dtype, complaints) == (np.float32, [])
    assert np.abs(samples).max() > 0.05


@needs_both
@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("start_s", [0.0, 3.21])
def test_a_part_is_that_part_of_the_whole(folder, suffix, start_s):
    with without_program():
        whole, part = load(folder / f"whole.{suffix}")[0], load(folder / f"whole.{suffix}", start_s=start_s, seconds=2)
    first = round(start_s * 48000)
    np.testing.assert_array_equal(part[0], whole[first : first + 96000])


@needs_both
@pytest.mark.parametrize("suffix", CODECS)
def test_a_file_that_is_cut_off_gives_what_ffmpeg_gives_and_the_same_remark(folder, suffix):
    path = folder / f"cut.{suffix}"
    expected, remarks = load(path)
    with without_program():
        samples, complaints = load(path)
    assert len(samples) == pytest.approx(len(expected), abs=4800)
    np.testing.assert_allclose(samples[:96000], expected[:96000], atol=1e-6)
    pattern = r"damaged or cut off at [23]\.\d s( \(ffmpeg: .*\))?: [23]\.\d s decoded of 6.0 s promised"
    for texts in (remarks, complaints):
        assert len(texts) == 1
        assert all(re.fullmatch(pattern, text) for text in texts), texts


@needs_both
def test_what_comes_after_damage_is_kept(tmp_path):
    program("-t", "6", "-i", RECORDING, tmp_path / "a.flac")
    data = bytearray((tmp_path / "a.flac").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8000] = np.random.default_rng(0).bytes(8000)
    (tmp_path / "a.flac").write_bytes(data)
    with without_program():
        samples, complaints = load(tmp_path / "a.flac")
    assert len(samples) / 48000 > 5
    assert len(complaints) == 1


@needs_both
def test_a_file_without_sound_is_refused_with_the_reason(folder, tmp_path):
    program("-f", "lavfi", "-i", "color=size=16x16:duration=1", tmp_path / "video.mkv")
    (tmp_path / "text.m4a").write_text("This is not music.\n" * 1000)
    (tmp_path / "text.wav").write_text("This is not music.\n" * 1000)
    reasons = {
        "video.mkv": r"not audio that can be read \(no audio stream",
        "text.m4a": r"not audio that can be read \(ffmpeg: Invalid data",
        "text.wav": r"not audio that can be read \(libsndfile: .*; ffmpeg: Invalid data",
    }
    for name, reason in reasons.items():
        with without_program(), pytest.raises(errors.Undecodable, match=reason) as caught:
            decode.probe(tmp_path / name)
        assert not caught.value.tool_missing


@needs_both
@pytest.mark.parametrize("name", [b"a:b.m4a", b"-leading.m4a", b"100%d.m4a", b"\xff\xfe.m4a"])
def test_names_of_any_kind_are_read(folder, tmp_path, name):
    path = os.path.join(tmp_path, os.fsdecode(name))
    os.symlink(folder / "whole.m4a", path)
    with without_program():
        assert decode.probe(path).channels == 2


@needs_both
def test_ffmpeg_is_asked_first(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # Any import of it would fail.
    assert decode.probe(folder / "whole.m4a").channels == 2


def test_where_both_are_missing_the_error_names_both(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "av", None)  # Python then says that there is no such module.
    (tmp_path / "song.m4a").write_bytes(b"anything")
    (tmp_path / "odd.wav").write_bytes(b"anything")
    for name in ("song.m4a", "odd.wav"):
        with pytest.raises(errors.Undecodable, match=r"pip install 'nafp\[containers\]'.*apt install ffmpeg") as caught:
            decode.load(tmp_path / name, sample_rate_hz=8000)
        assert caught.value.tool_missing
