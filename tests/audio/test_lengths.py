"""A header is a hint: no sound beyond its count is lost, no length that nobody knows is a promise."""

import mmap
import os
import struct
import subprocess
import time

import numpy as np
import pytest
import soundfile

from nafp import errors
from nafp.audio import containers, decode, ffmpeg, flac_frames, headers, windows
from nafp.corpora import corpus, manifest
from tests import tunes

needs_ffmpeg = pytest.mark.skipif(not ffmpeg.installed(), reason="ffmpeg is not installed")
RATES_HZ = {"opus": 48000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tunes of 4 and 3 seconds in every format that libsndfile writes."""
    folder = tmp_path_factory.mktemp("lengths")
    for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
        rate_hz = RATES_HZ.get(suffix, 16000)
        for name, seconds in (("a", 4.0), ("b", 3.0)):
            samples = tunes.tune(seconds, sample_rate_hz=rate_hz, seed=int(seconds))
            tunes.write(folder / f"{name}.{suffix}", samples, rate_hz)
    return folder


@pytest.fixture(autouse=True)
def without_other_readers(monkeypatch, request):
    """Hides ffmpeg and PyAV, which would hide a loss."""
    if not request.node.get_closest_marker("skipif"):
        monkeypatch.setattr(ffmpeg, "installed", lambda: False)
        monkeypatch.setattr(containers, "installed", lambda: False)


def heard(path, **options):
    """Returns the seconds that are decoded, and the remarks."""
    remarks = []
    return len(decode.load(path, sample_rate_hz=8000, complain=remarks.append, **options)) / 8000, remarks


def patched(folder, name, at, value, form="<I"):
    data = bytearray((folder / name).read_bytes())
    data[at : at + struct.calcsize(form)] = struct.pack(form, value)
    return bytes(data)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_joined_files_are_heard_to_the_end_of_the_last(folder, tmp_path, suffix):
    parts = [(folder / f"{name}.{suffix}").read_bytes() for name in "aba"]
    (tmp_path / f"joined.{suffix}").write_bytes(b"".join(parts))
    seconds, remarks = heard(tmp_path / f"joined.{suffix}")
    assert (round(seconds, 2), remarks) == (11.0, [])
    (tmp_path / f"two.{suffix}").write_bytes(b"".join(parts[:2]))
    assert decode.probe(tmp_path / f"two.{suffix}").seconds == pytest.approx(7.0, abs=0.1)
    whole = decode.load(tmp_path / f"joined.{suffix}", sample_rate_hz=8000)
    second = decode.load(folder / f"b.{suffix}", sample_rate_hz=8000)
    assert np.corrcoef(whole[32000:56000], second)[0, 1] > 0.99
    part = decode.load(tmp_path / f"joined.{suffix}", sample_rate_hz=8000, start_s=5.5, seconds=2)
    np.testing.assert_allclose(part, whole[44000:60000], atol=1e-3)


def test_a_chain_may_change_its_rate_and_its_channels(folder, tmp_path):
    tunes.write(tmp_path / "b.flac", tunes.stereo(3.0, sample_rate_hz=44100, seed=3), 44100)
    (tmp_path / "joined.flac").write_bytes((folder / "a.flac").read_bytes() + (tmp_path / "b.flac").read_bytes())
    seconds, remarks = heard(tmp_path / "joined.flac")
    assert (round(seconds, 2), remarks) == (7.0, [])


def test_a_damaged_link_is_named_and_the_others_are_heard(folder, tmp_path):
    first, second = (folder / "a.ogg").read_bytes(), bytearray((folder / "b.ogg").read_bytes())
    second[200:3000] = bytes(2800)
    (tmp_path / "chain.ogg").write_bytes(first + bytes(second) + first)
    seconds, remarks = heard(tmp_path / "chain.ogg")
    assert seconds >= 8.0
    assert len(remarks) == 1
    assert "of 3" in remarks[0]


def test_mp3_files_that_were_joined_are_heard_whole_whatever_they_are_called(folder, tmp_path):
    for name in ("joined.mp3", "joined.wav", "joined"):
        (tmp_path / name).write_bytes((folder / "a.mp3").read_bytes() + (folder / "b.mp3").read_bytes())
        seconds, remarks = heard(tmp_path / name)
        assert seconds == pytest.approx(7.0, abs=0.2)
        assert remarks == [f"its header states 4.1 s, but {seconds:.1f} s are there and were decoded"]
        assert decode.probe(tmp_path / name).seconds == pytest.approx(7.0, abs=0.2)


@pytest.mark.parametrize("kept", [0.03, 0.1, 0.5, 0.9])
def test_of_joined_mp3_files_the_last_may_be_cut_off(folder, tmp_path, kept):
    first, second = (folder / "a.mp3").read_bytes(), (folder / "b.mp3").read_bytes()
    (tmp_path / "joined.mp3").write_bytes(first + second[: round(kept * len(second))])
    seconds, remarks = heard(tmp_path / "joined.mp3")
    assert seconds == pytest.approx(4 + 3 * kept, abs=0.3)
    assert len(remarks) == 1
    assert "that the headers of joined files state" in remarks[0]


@pytest.mark.parametrize("at", [4, 6, 9, 12])
def test_a_changed_bit_before_the_count_of_an_mp3_hides_nothing(folder, tmp_path, at):
    (tmp_path / "a.mp3").write_bytes(patched(folder, "a.mp3", at, 16, "B"))
    assert decode.probe(tmp_path / "a.mp3").seconds == pytest.approx(4.0, abs=0.1)
    assert heard(tmp_path / "a.mp3")[0] == pytest.approx(4.0, abs=0.1)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(data[: len(data) // 2])
    seconds, remarks = heard(tmp_path / "cut.mp3")
    assert seconds == pytest.approx(2.0, abs=0.2)
    assert len(remarks) == 1


@pytest.mark.parametrize("at", [0.4, 0.8])
def test_noise_over_frames_of_an_mp3_is_told(folder, tmp_path, at):
    data = bytearray((folder / "a.mp3").read_bytes())
    start, n_bytes = round(at * len(data)), len(data) // 5
    data[start : start + n_bytes] = np.random.default_rng(0).integers(0, 200, n_bytes).astype(np.uint8).tobytes()
    (tmp_path / "a.mp3").write_bytes(data)
    seconds, remarks = heard(tmp_path / "a.mp3")
    assert seconds < 3.7
    assert len(remarks) == 1


@pytest.mark.parametrize("size", [0, 100, 128, 5000, 2**14, 2**21 + 7, 2**27])
def test_a_tag_that_claims_another_size_hides_no_sound(folder, tmp_path, size):
    sound = (folder / "a.mp3").read_bytes()
    stated = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    (tmp_path / "a.mp3").write_bytes(b"ID3\3\0\0" + stated + bytes(100) + sound)
    seconds, remarks = heard(tmp_path / "a.mp3")
    assert (seconds, remarks) == (pytest.approx(4.05, abs=0.06), [])


def test_what_stands_before_the_first_frame_of_an_mp3_is_told_unless_it_is_filling(folder, tmp_path):
    sound = (folder / "a.mp3").read_bytes()
    noise = np.random.default_rng(0).integers(0, 200, 6000).astype(np.uint8).tobytes()
    for before, n_remarks in ((bytes(6000), 0), (noise[:1000], 0), (noise, 1)):
        (tmp_path / "a.mp3").write_bytes(before + sound)
        seconds, remarks = heard(tmp_path / "a.mp3")
        assert seconds == pytest.approx(4.05, abs=0.06)
        assert len(remarks) == n_remarks, remarks


def test_wavpack_states_its_length_itself():
    head = b"wvpk" + struct.pack("<IHBBIIII", 100, 0x410, 0, 0, 144_000, 0, 0, 10 << 23) + bytes(40)
    assert headers._wavpack_seconds(head) == 3.0
    assert headers._wavpack_seconds(head[:12] + b"\xff" * 4 + head[16:]) == 0.0
    assert headers._wavpack_seconds(head[:24] + b"\xff" * 4 + head[28:]) == 0.0
    assert headers._wavpack_seconds(head[:20]) == 0.0


def test_a_joined_header_that_lies_is_no_damage(folder, tmp_path):
    first, second = (folder / "a.mp3").read_bytes(), bytearray((folder / "b.mp3").read_bytes())
    at = second.index(b"Xing" if b"Xing" in second else b"Info") + 8
    second[at : at + 4] = struct.pack(">I", 2**31)
    (tmp_path / "joined.mp3").write_bytes(first + second)
    _, remarks = heard(tmp_path / "joined.mp3")
    assert "state" in remarks[0]
    assert "joined files" not in remarks[0]


@pytest.mark.parametrize("stated", [1, 5, 2**20, 2**31])
def test_a_wrong_number_of_frames_in_an_mp3_costs_no_sound(folder, tmp_path, stated):
    at = (folder / "a.mp3").read_bytes().index(b"Xing") + 8
    (tmp_path / "a.mp3").write_bytes(patched(folder, "a.mp3", at, stated, ">I"))
    seconds, remarks = heard(tmp_path / "a.mp3")
    assert seconds == pytest.approx(4.0, abs=0.1)
    assert len(remarks) == (stated < 100)
    assert decode.probe(tmp_path / "a.mp3").seconds == pytest.approx(4.0, abs=0.1)


def test_zeros_before_the_first_frame_are_no_sound_and_no_damage(folder, tmp_path):
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 0, 100]) + bytes(100)
    (tmp_path / "a.mp3").write_bytes(tag + bytes(100_000) + (folder / "a.mp3").read_bytes())
    assert heard(tmp_path / "a.mp3") == (4.0, [])


def test_junk_behind_an_mp3_takes_no_time(folder, tmp_path):
    (tmp_path / "a.mp3").write_bytes((folder / "a.mp3").read_bytes() + b"\xff" * 10_000_000)
    path = os.fspath(tmp_path / "a.mp3")
    began_s = time.process_time()
    assert headers.links(path) == [windows.WHOLE]
    assert time.process_time() - began_s < 3.0  # 12 s with one step of Python a byte.


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0x7FFF0000, 0xFFFFFFFF, 0xFFFFFF00, 0x80000024])
def test_a_wav_size_that_its_writer_did_not_know_promises_nothing(folder, tmp_path, size):
    (tmp_path / "a.wav").write_bytes(patched(folder, "a.wav", 40, size))
    assert heard(tmp_path / "a.wav") == (4.0, [])
    assert decode.probe(tmp_path / "a.wav").seconds == 4.0


def test_a_wav_that_truly_holds_nothing_still_says_so(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 1)), 16000)
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data + b"LIST" + struct.pack("<I", 4) + b"INFO")
    with pytest.raises(errors.Undecodable, match="holds no samples"):
        heard(tmp_path / "a.wav")


def test_chunks_and_tags_behind_the_samples_are_no_sound(folder, tmp_path):
    for behind in (b"LIST" + struct.pack("<I", 4) + b"INFO", b"TAG" + bytes(125), bytes(2000), b"ID3\x04" + bytes(99)):
        (tmp_path / "a.wav").write_bytes((folder / "a.wav").read_bytes() + behind)
        assert heard(tmp_path / "a.wav") == (4.0, [])


@pytest.mark.parametrize(
    ("form", "endian", "behind"),
    [
        ("WAV", "BIG", b"LIST" + struct.pack(">I", 2000)),
        ("AIFF", "FILE", b"NAME" + struct.pack(">I", 2000)),
        ("CAF", "FILE", b"free" + struct.pack(">q", 2000)),
        ("W64", "FILE", b"levl\xf3\xac\xd3\x11\xd1\x8c\x00\xc0\x4f\x8e\xdb\x8a" + struct.pack("<Q", 2024)),
    ],
)
def test_a_chunk_behind_the_samples_of_any_kind_of_file_is_no_sound(tmp_path, form, endian, behind):
    samples = tunes.tune(4.0, sample_rate_hz=16000)
    soundfile.write(tmp_path / "a", samples, 16000, format=form, subtype="PCM_16", endian=endian)
    with open(tmp_path / "a", "ab") as file:
        file.write(behind + bytes(range(1, 251)) * 8)
    assert heard(tmp_path / "a") == (4.0, [])


def test_a_header_of_millions_of_empty_chunks_takes_no_time(tmp_path):
    start_s = time.process_time()
    for name in (bytes(4), b"junk"):
        (tmp_path / "a.wav").write_bytes(b"RIFF\xff\xff\xff\x7fWAVE" + (name + bytes(4)) * (4 << 20))
        assert headers.links(tmp_path / "a.wav") == [windows.WHOLE]
    assert time.process_time() - start_s < 2.0


@pytest.mark.parametrize("form", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64"])
def test_samples_beyond_a_stated_size_are_heard_and_a_cut_is_named(tmp_path, form):
    path, name = tmp_path / "a", {"AIFF": b"SSND", "W64": b"data\xf3"}.get(form, b"data")
    soundfile.write(path, tunes.tune(4.0, sample_rate_hz=16000), 16000, format=form, subtype="PCM_16")
    data = path.read_bytes()
    at, width = {"AU": (8, ">I"), "RF64": (28, "<Q")}.get(form, (0, ""))
    if not at:
        at = data.index(name) + (16 if form == "W64" else 4)
        width = {"WAV": "<I", "AIFF": ">I", "CAF": ">q", "W64": "<Q"}[form]
    path.write_bytes(data[: len(data) // 2])
    seconds, remarks = heard(path)
    assert seconds == pytest.approx(2.0, abs=0.1)
    assert "of 4.0 s promised" in remarks[0]
    small = struct.pack(width, 1032)
    path.write_bytes(data[:at] + small + data[at + len(small) :])
    seconds, remarks = heard(path)
    assert seconds == pytest.approx(4.0, abs=0.01)
    assert "but 4.0 s are there" in remarks[0]


def test_a_wav_file_of_more_than_4_gib_is_as_long_as_it_is(folder, tmp_path):
    n_bytes = 2**32 + 32_000  # Sparse: the disk holds nothing of it. The header says 1 s.
    (tmp_path / "big.wav").write_bytes(patched(folder, "a.wav", 40, 32_000)[:44])
    os.truncate(tmp_path / "big.wav", 44 + n_bytes)
    with open(tmp_path / "big.wav", "r+b") as file:
        file.seek(44 + n_bytes - 64_000)
        file.write((folder / "a.wav").read_bytes()[44 : 44 + 64_000])
    assert decode.probe(tmp_path / "big.wav").seconds == pytest.approx(n_bytes / 32_000, abs=0.01)
    end = decode.load(tmp_path / "big.wav", sample_rate_hz=8000, start_s=n_bytes / 32_000 - 2)
    expected = decode.load(folder / "a.wav", sample_rate_hz=8000)[:16000]
    assert np.corrcoef(end[:16000], expected)[0, 1] > 0.999


def flac_of(folder, total):
    data = (folder / "a.flac").read_bytes()
    return data[:21] + struct.pack(">BI", data[21] & 0xF0 | total >> 32, total & 0xFFFFFFFF) + data[26:]


@pytest.mark.parametrize("total, n_remarks", [(0, 0), (1000, 1), (2**35, 0), (2**36 - 1, 0), (16000 * 5, 1)])
def test_the_number_of_samples_in_a_flac_header_is_a_hint(folder, tmp_path, total, n_remarks):
    (tmp_path / "a.flac").write_bytes(flac_of(folder, total))
    seconds, remarks = heard(tmp_path / "a.flac")
    assert (seconds, len(remarks)) == (4.0, n_remarks)
    assert decode.probe(tmp_path / "a.flac").seconds == (5.0 if total == 80_000 else 4.0)
    assert len(decode.load(tmp_path / "a.flac", sample_rate_hz=8000, start_s=3.0)) == 8000


def test_the_last_frame_of_a_flac_file_tells_its_length(folder):
    with open(folder / "a.flac", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert flac_frames._end(data, 0, len(data)) == 4 * 16000


def test_damage_in_a_second_costs_that_second_only_from_there(folder, tmp_path):
    data = bytearray((folder / "a.flac").read_bytes())
    del data[-3000:]
    (tmp_path / "a.flac").write_bytes(data)
    seconds, remarks = heard(tmp_path / "a.flac")
    assert seconds > 3.2
    assert "promised" in remarks[0]


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
def test_an_ogg_file_that_was_cut_off_or_lacks_a_page_draws_a_remark(folder, tmp_path, suffix):
    data = (folder / f"a.{suffix}").read_bytes()
    pages = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    (tmp_path / "cut").write_bytes(data[: len(data) - 100])
    (tmp_path / "gap").write_bytes(data[: pages[3]] + data[pages[4] :] if len(pages) > 4 else data[:-1])
    flipped = bytearray(data)
    flipped[pages[-1] + 100] ^= 1
    (tmp_path / "flip").write_bytes(flipped)
    for name, reason in {"cut": "not whole", "gap": "damaged or missing|not whole", "flip": "not whole"}.items():
        _, remarks = heard(tmp_path / name)
        assert len(remarks) == 1, name
        assert any(word in remarks[0] for word in reason.split("|"))
    assert heard(folder / f"a.{suffix}")[1] == []


@needs_ffmpeg
def test_a_stream_without_a_container_promises_nothing(tmp_path):
    loud = np.concatenate([tunes.tune(3.0), np.zeros(44100 * 6, np.float32)])  # Bit rates differ widely.
    soundfile.write(tmp_path / "a.wav", loud, 44100)
    for name in ("a.aac", "a.ac3"):
        subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / name], check=True)
        seconds, remarks = heard(tmp_path / name)
        assert seconds == pytest.approx(9.0, abs=0.1)
        assert remarks == []
        assert decode.probe(tmp_path / name).seconds == 0.0
        assert decode.measured_s(tmp_path / name) == pytest.approx(9.0, abs=0.1)


def test_one_lie_does_not_cost_the_corpus_its_other_files(folder, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "lie.flac").write_bytes(flac_of(folder, 2**36 - 1))
    (audio / "good.wav").write_bytes((folder / "a.wav").read_bytes())
    tracks, failures = manifest.scan(str(audio))
    assert failures == []
    tracks = [track._replace(seconds=1e9) if "lie" in track.path else track for track in tracks]
    built = corpus.build(tracks, tmp_path / "C", jobs=0)
    assert [built.seconds(track) for track in built.tracks] == [4.0, 4.0]
    assert built.damaged == []
