import functools
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from nafp import errors
from nafp.audio import containers, decode, ffmpeg, headers, rates, windows
from tests import tunes

needs_ffmpeg = pytest.mark.skipif(not ffmpeg.installed(), reason="ffmpeg is not installed")
THROUGH_FFMPEG = {"m4a": "aac", "webm": "libopus", "wma": "wmav2", "mkv": "aac"}
FORMATS = ["wav", "flac", "ogg", "opus", "mp3", *THROUGH_FFMPEG]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Writes a tune of 12.3 s in stereo, in every format. It is at 48 kHz, which Opus wants."""
    folder = tmp_path_factory.mktemp("audio")
    samples = tunes.stereo(12.3, sample_rate_hz=48000)
    for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
        tunes.write(folder / f"tune.{suffix}", samples, 48000)
    if ffmpeg.installed():
        for suffix, codec in THROUGH_FFMPEG.items():
            convert(folder / "tune.wav", folder / f"tune.{suffix}", "-c:a", codec, "-b:a", "128k")
    return folder


def convert(source, target, *options):
    command = ["ffmpeg", "-v", "error", "-y", "-i", source, *options, target]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


@functools.cache  # Nobody changes a file that was read, nor its samples.
def whole(path, sample_rate_hz=8000):
    """Loads with complaints raised: the file is to be whole."""

    def complain(reason):
        raise AssertionError(reason)

    return decode.load(path, sample_rate_hz=sample_rate_hz, complain=complain)


def formats(function):
    marked = [pytest.param(name, marks=needs_ffmpeg if name in THROUGH_FFMPEG else ()) for name in FORMATS]
    return pytest.mark.parametrize("suffix", marked)(function)


@formats
def test_every_format_sounds_like_the_original(folder, suffix):
    samples, original = whole(folder / f"tune.{suffix}"), whole(folder / "tune.wav")
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(len(original), abs=400)
    # Lossy formats may add a delay of a packet; the best alignment must be a near copy.
    a, b = original[4000:20000], samples
    delays = [np.dot(a, b[4000 + at : 20000 + at]) for at in range(-400, 400)]
    at = int(np.argmax(delays)) - 400
    match = np.corrcoef(a, b[4000 + at : 20000 + at])[0, 1]
    assert match > (0.999 if suffix in ("wav", "flac") else 0.97)


@formats
def test_a_stream_put_together_is_the_loaded_file(folder, suffix):
    loaded = whole(folder / f"tune.{suffix}")
    for block_s in (0.37, 5.0, 100.0):
        blocks = list(decode.stream(folder / f"tune.{suffix}", sample_rate_hz=8000, block_s=block_s))
        np.testing.assert_array_equal(np.concatenate(blocks), loaded)
        assert {len(block) for block in blocks[:-1]} <= {round(block_s * 8000)}


@formats
@pytest.mark.parametrize("start_s, seconds", [(0.0, 1.0), (3.21, 2.5), (7.0001, 0.2), (11.9, 5.0)])
def test_a_part_is_that_part_of_the_whole(folder, suffix, start_s, seconds):
    loaded = whole(folder / f"tune.{suffix}")
    part = decode.load(folder / f"tune.{suffix}", sample_rate_hz=8000, start_s=start_s, seconds=seconds)
    first = round(start_s * 8000)
    expected = loaded[first : first + round(seconds * 8000)]
    assert abs(len(part) - len(expected)) <= (1 if start_s + seconds > 12 else 0)
    np.testing.assert_allclose(part[: len(expected)], expected[: len(part)], atol=1e-5)


@formats
def test_the_header_says_how_long_it_is(folder, suffix):
    info = decode.probe(folder / f"tune.{suffix}")
    assert info.seconds == pytest.approx(12.3, abs=0.1)
    assert info.sample_rate_hz in (44100, 48000)
    assert info.channels == 2


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
def test_resampling_keeps_what_fits_and_removes_what_does_not(tmp_path, rate_hz):
    time_s = np.arange(4 * rate_hz) / rate_hz
    low = 0.4 * np.sin(2 * np.pi * 1000 * time_s)
    high = 0.4 * np.sin(2 * np.pi * 5000 * time_s) if rate_hz > 10000 else 0 * time_s
    tunes.write(tmp_path / "tones.wav", (low + high).astype(np.float32), rate_hz)
    samples = whole(tmp_path / "tones.wav")[8000:16000]
    expected = 0.4 * np.sin(2 * np.pi * 1000 * (1 + np.arange(8000) / 8000))
    np.testing.assert_allclose(samples, expected, atol=2e-3)


def test_resampling_an_array_is_resampling_a_file(tmp_path):
    samples = tunes.tune(3.0)
    soundfile.write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    expected = decode.resample(samples, from_hz=44100, to_hz=8000)
    np.testing.assert_allclose(whole(tmp_path / "a.wav"), expected, atol=1e-6)
    assert decode.resample(samples, from_hz=8000, to_hz=8000) is samples


@needs_ffmpeg
def test_an_mp3_without_a_length_header_is_read_to_its_end(folder, tmp_path):
    # Loud noise first and silence after: guessed from the first frames, it would seem short.
    rng = np.random.default_rng(0)
    loud = 0.3 * rng.standard_normal(44100 * 3).astype(np.float32)
    samples = np.concatenate([loud, tunes.tune(20.0), 0 * loud])
    source = tunes.write(tmp_path / "a.wav", samples)
    options = ("-c:a", "libmp3lame", "-q:a", "2", "-write_xing", "0")
    path = convert(source, tmp_path / "untagged.mp3", *options)
    assert soundfile.info(path).duration < 20  # The trap this is about.
    assert decode.probe(path).seconds == pytest.approx(26.0, abs=0.1)
    assert len(whole(path)) / 8000 == pytest.approx(26.0, abs=0.1)
    for name in ("called.wav", "from standard input"):
        (tmp_path / name).write_bytes(path.read_bytes())
        np.testing.assert_array_equal(whole(tmp_path / name), whole(path))
    part = decode.load(path, sample_rate_hz=8000, start_s=15, seconds=2)
    np.testing.assert_allclose(part, whole(path)[15 * 8000 : 17 * 8000], atol=1e-5)


def test_an_mp3_with_a_length_header_is_left_alone(folder):
    assert headers.links(os.fspath(folder / "tune.mp3")) == [windows.WHOLE]


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_file_that_is_cut_off_gives_what_is_there_and_a_complaint(folder, tmp_path, suffix):
    data = (folder / f"tune.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(data[: len(data) // 2])
    complaints = []
    samples = decode.load(path, sample_rate_hz=8000, complain=complaints.append)
    assert 4.0 < len(samples) / 8000 < 7.5
    np.testing.assert_allclose(samples[:30000], whole(folder / f"tune.{suffix}")[:30000], atol=1e-4)
    assert len(complaints) == 1
    assert "cut off at" in complaints[0]
    assert "of 12.3 s promised" in complaints[0]


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["flac", "mp3"])
def test_what_comes_after_damage_is_kept_where_ffmpeg_is_there(folder, tmp_path, suffix):
    data = bytearray((folder / f"tune.{suffix}").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 8000] = np.random.default_rng(0).bytes(8000)
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(data)
    complaints = []
    samples = decode.load(path, sample_rate_hz=8000, complain=complaints.append)
    assert len(samples) / 8000 > 10.5
    assert len(complaints) == 1


def test_a_complaint_is_logged_unless_somebody_listens(folder, tmp_path, caplog):
    path = tmp_path / "cut.wav"
    path.write_bytes((folder / "tune.wav").read_bytes()[:1_000_000])
    decode.load(path, sample_rate_hz=8000)
    assert "cut.wav" in caplog.text


def test_a_wav_file_from_a_pipe_is_not_taken_for_cut_off(folder, tmp_path):
    data = bytearray((folder / "tune.wav").read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(data)
    assert len(whole(tmp_path / "piped.wav")) == len(whole(folder / "tune.wav"))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(tmp_path, bad):
    samples = tunes.tune(5.0)
    samples[3 * 44100 + 7] = bad
    soundfile.write(tmp_path / "a.wav", samples, 44100, subtype="FLOAT")
    with pytest.raises(errors.Undecodable, match="NaN or infinite samples in second 3"):
        decode.load(tmp_path / "a.wav", sample_rate_hz=8000)


def test_a_refused_file_is_named_once(tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(errors.Undecodable) as raised:
        decode.load(tmp_path / "empty.wav", sample_rate_hz=8000)
    assert str(raised.value) == f"{tmp_path}/empty.wav: empty file, 0 bytes"


def test_files_that_hold_no_audio_are_refused_by_name_with_the_reason(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.mp3").write_text("This is not music.\n" * 1000)
    (tmp_path / "noise.flac").write_bytes(np.random.default_rng(0).bytes(50000))
    (tmp_path / "folder.wav").mkdir()
    soundfile.write(tmp_path / "zero.wav", np.zeros((0, 2)), 44100)
    reasons = {
        "empty.wav": "empty file, 0 bytes",
        "text.mp3": "no audio frames",
        "noise.flac": "not recognised",
        "folder.wav": "a folder",
        "zero.wav": "holds no samples",
        "missing.wav": "No such file",
    }
    for name, reason in reasons.items():
        with pytest.raises(errors.Undecodable, match=reason) as caught:
            decode.load(tmp_path / name, sample_rate_hz=8000)
        assert caught.value.path == str(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_a_file_one_may_not_read_is_refused(tmp_path):
    path = tunes.write(tmp_path / "a.wav", tunes.tune(1.0))
    path.chmod(0)
    with pytest.raises(errors.Undecodable, match="Permission denied"):
        decode.load(path, sample_rate_hz=8000)


def test_a_file_that_needs_ffmpeg_says_how_to_get_it(tmp_path, monkeypatch):
    for reader in (ffmpeg, containers):
        monkeypatch.setattr(reader, "installed", lambda: False)
    (tmp_path / "song.m4a").write_bytes(b"anything")
    with pytest.raises(errors.Undecodable, match=r"needs ffmpeg.*apt install ffmpeg") as caught:
        decode.load(tmp_path / "song.m4a", sample_rate_hz=8000)
    assert caught.value.tool_missing
    (tmp_path / "odd.wav").write_bytes(b"anything")
    with pytest.raises(errors.Undecodable, match=r"libsndfile: .*; ffmpeg might read it, but"):
        decode.load(tmp_path / "odd.wav", sample_rate_hz=8000)


@needs_ffmpeg
def test_what_libsndfile_refuses_goes_through_ffmpeg(folder, tmp_path):
    path = tmp_path / "song.wav"
    path.write_bytes((folder / "tune.m4a").read_bytes())
    np.testing.assert_array_equal(whole(path), whole(folder / "tune.m4a"))


@needs_ffmpeg
def test_a_video_without_sound_is_refused(tmp_path):
    picture = ["-f", "lavfi", "-i", "color=size=16x16:duration=1"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, tmp_path / "a.mkv"], check=True)
    with pytest.raises(errors.Undecodable, match="no audio stream"):
        decode.probe(tmp_path / "a.mkv")


@needs_ffmpeg
def test_no_ffmpeg_stays_behind_when_a_stream_is_dropped(folder):
    blocks = decode.stream(folder / "tune.m4a", sample_rate_hz=8000, block_s=0.1)
    next(blocks)
    if not pathlib.Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("no list of children here")
    before = children()
    blocks.close()
    assert children() < before


def children():
    """Returns the processes that any thread of this one has started and that have not ended."""
    lists = pathlib.Path("/proc/self/task").glob("*/children")
    return {child for text in lists for child in text.read_text().split()}


def test_undecodable_survives_pickling():
    error = pickle.loads(pickle.dumps(errors.Undecodable("a.wav", "silent", tool_missing=True)))
    assert (error.path, error.reason, error.tool_missing) == ("a.wav", "silent", True)


def test_names_of_any_kind_are_read(tmp_path):
    for name in ("ä ö 音.wav", "-leading.flac", "100%.ogg", "a:b.wav"):
        tunes.write(tmp_path / name, tunes.tune(0.5))
        assert len(whole(tmp_path / name)) == 4000
    os.rename(tmp_path / "100%.ogg", os.fsencode(tmp_path) + b"/\xff\xfe.ogg")
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.ogg")
    assert len(whole(strange)) == 4000


def test_integers_and_floats_are_inverses():
    every = np.arange(-32768, 32768).astype("<i2")
    np.testing.assert_array_equal(decode.to_int16(decode.to_float(every)), every)
    np.testing.assert_array_equal(decode.to_int16(np.float32([2.0, -2.0])), [32767, -32768])


def test_a_written_file_is_whole_or_not_there(tmp_path, monkeypatch):
    samples = decode.to_float(decode.to_int16(tunes.tune(1.0, sample_rate_hz=8000)))
    decode.write_wav(tmp_path / "a.wav", samples, sample_rate_hz=8000)
    np.testing.assert_array_equal(whole(tmp_path / "a.wav"), samples)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        decode.write_wav(tmp_path / "b.wav", samples, sample_rate_hz=8000)
    assert sorted(os.listdir(tmp_path)) == ["a.wav"]


def test_decoders_can_be_hushed_without_losing_our_own_words():
    code = """
import os, sys
from nafp.audio import decode
with decode.hushed():
    os.write(2, b"chatter")
    print("ours", file=sys.stderr)
print("after", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "ours\nafter\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_an_hour_needs_no_more_memory_than_a_minute(tmp_path):
    # A sparse file: an hour of 16-bit stereo at 16 kHz is 230 MB, of which the disk holds nothing.
    n_bytes = 3600 * 16000 * 4
    soundfile.write(tmp_path / "hour.wav", np.zeros((8, 2)), 16000, subtype="PCM_16")
    data = bytearray((tmp_path / "hour.wav").read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = n_bytes.to_bytes(4, "little")
    with open(tmp_path / "hour.wav", "wb") as file:
        file.write(data[: at + 8])
        file.truncate(at + 8 + n_bytes)
    code = f"""
import pathlib, re
from nafp.audio import decode
def highest():
    return int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
blocks = decode.stream({str(tmp_path / "hour.wav")!r}, sample_rate_hz=8000)
n, before = sum(len(next(blocks)) for _ in range(2)), highest()
assert n + sum(map(len, blocks)) == 3600 * 8000
print(highest() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10_000  # KiB; an hour is 115 MB as float32 at 8 kHz.


def test_settings_that_cannot_be_meant_are_refused(folder):
    with pytest.raises(ValueError, match="start_s -1"):
        decode.load(folder / "tune.wav", sample_rate_hz=8000, start_s=-1)
    with pytest.raises(errors.Undecodable, match="ends before second 15"):
        decode.load(folder / "tune.wav", sample_rate_hz=8000, start_s=15)


def with_flipped_bit(path, sample):
    """Writes five seconds of a tune as float, with the highest bit of one sample's exponent flipped."""
    samples = tunes.tune(5.0, sample_rate_hz=8000)
    samples.view(np.uint32)[sample] ^= 1 << 30
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    return samples


def test_one_absurd_sample_is_damage_by_name_and_not_a_silent_track(tmp_path):
    samples = with_flipped_bit(tmp_path / "a.wav", 3 * 8000 + 7)
    assert np.isfinite(samples).all()
    with pytest.raises(errors.Undecodable, match=r"a sample of -?\d.*e\+3\d where full scale is 1 in second 3"):
        decode.load(tmp_path / "a.wav", sample_rate_hz=8000)
    remarks = []
    blocks = decode.stream(tmp_path / "a.wav", sample_rate_hz=8000, complain=remarks.append, mend=True)
    mended = np.concatenate(list(blocks))
    np.testing.assert_array_equal(mended, np.where(np.abs(samples) < 2, samples, 0))
    assert len(remarks) == 1


@pytest.mark.parametrize("rate_hz", [8000, 16000, 44100])
def test_no_sample_that_is_no_number_leaves_the_decoder(tmp_path, rate_hz):
    samples = tunes.stereo(2.0, sample_rate_hz=rate_hz)
    samples[100:110] = np.finfo(np.float32).max  # A finite number. Its sum, and what resampling makes of it, are not.
    soundfile.write(tmp_path / "a.wav", samples, rate_hz, subtype="FLOAT")
    with pytest.raises(errors.Undecodable, match="full scale is 1 in second 0"):
        decode.load(tmp_path / "a.wav", sample_rate_hz=8000)
    (mended,) = decode.stream(tmp_path / "a.wav", sample_rate_hz=8000, complain=lambda reason: None, mend=True)
    assert np.abs(mended).max() < 2


def test_resampling_is_checked_after_its_end(tmp_path, monkeypatch):
    tunes.write(tmp_path / "a.wav", tunes.tune(1.0))
    monkeypatch.setattr(rates, "resampled", lambda *_, **__: iter([np.float32([0, np.nan])]))
    with pytest.raises(errors.Undecodable, match="NaN or infinite samples once at 8000 Hz"):
        decode.load(tmp_path / "a.wav", sample_rate_hz=8000)
