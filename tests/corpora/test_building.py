import functools
import json
import os
import shutil
import subprocess
import types

import numpy as np
import pytest
import soundfile

from nafp.audio import containers, decode, ffmpeg
from nafp.corpora import building, corpus, journal, manifest, parts
from tests import commands, tunes
from tests.corpora.conftest import FILES, content, scanned


def test_any_number_of_processes_makes_the_same_corpus(audio, built, tmp_path):
    for jobs in (1, 2):
        corpus.build(scanned(audio), tmp_path / f"C{jobs}", jobs=jobs)
        assert content(tmp_path / f"C{jobs}") == content(built.folder)


def test_nothing_is_left_behind(built):
    assert sorted(os.listdir(built.folder)) == sorted([*FILES, ".lock", "journal.jsonl"])


def copied(built, audio, tmp_path):
    """A corpus and the audio of its own that it was built from."""
    shutil.copytree(audio, tmp_path / "audio")
    corpus.build(scanned(tmp_path / "audio"), tmp_path / "C", jobs=0)
    return tmp_path / "audio", tmp_path / "C"


def never(job):
    raise AssertionError(f"decodes {job.path} again")


def test_building_again_does_nothing_and_says_so(built, audio, monkeypatch, capsys):
    monkeypatch.setattr(parts, "pack", never)
    before = {name: os.stat(os.path.join(built.folder, name)).st_mtime_ns for name in FILES}
    corpus.build(scanned(audio), built.folder, jobs=0, progress=True)
    after = {name: os.stat(os.path.join(built.folder, name)).st_mtime_ns for name in FILES}
    assert before == after
    assert "unchanged, nothing to decode" in capsys.readouterr().err


def test_new_tracks_are_appended_and_old_ones_not_decoded_again(built, audio, tmp_path, monkeypatch):
    folder, out = copied(built, audio, tmp_path)
    before = (out / "samples.i16").read_bytes()
    tunes.write(folder / "music/train/0a.wav", tunes.tune(1.2, sample_rate_hz=8000), 8000)
    decoded, pack = [], parts.pack
    monkeypatch.setattr(parts, "pack", lambda job: decoded.append(job.path) or pack(job))
    updated = corpus.build(scanned(folder), out, jobs=0)
    assert decoded == [str(folder / "music/train/0a.wav")]
    assert (out / "samples.i16").read_bytes()[: len(before)] == before
    assert len(updated.loudness) * 4000 == len(updated.samples)
    assert [track.path for track in updated.tracks] == [t.path for t in scanned(folder)]
    for track in updated.select(kind="music"):
        expected = decode.to_int16(decode.load(track.path, sample_rate_hz=8000))
        np.testing.assert_array_equal(updated.audio(track), expected)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_table_of_loudness_is_measured_again(built, audio, tmp_path, monkeypatch, damage):
    shutil.copytree(built.folder, tmp_path / "C")
    monkeypatch.setattr(parts, "pack", never)
    if damage is None:
        os.remove(tmp_path / "C" / "loudness.npy")
    else:
        (tmp_path / "C" / "loudness.npy").write_bytes(damage)
    corpus.build(scanned(audio), tmp_path / "C", jobs=0)
    assert content(tmp_path / "C") == content(built.folder)


def test_tracks_that_left_the_manifest_leave_the_table_and_may_come_back(built, audio, tmp_path, monkeypatch):
    folder, out = copied(built, audio, tmp_path)
    everything = content(out)
    monkeypatch.setattr(parts, "pack", never)
    fewer = corpus.build(scanned(folder)[:3], out, jobs=0)
    assert len(fewer.tracks) == 3
    corpus.build(scanned(folder), out, jobs=0)
    assert content(out) == everything


def test_a_table_of_another_manifest_is_replaced_after_a_kill(built, audio, tmp_path, monkeypatch):
    folder, out = copied(built, audio, tmp_path)
    everything = content(out)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_finished", killed)  # The table is written, corpus.json is not.
        with pytest.raises(KeyboardInterrupt):
            corpus.build(scanned(folder)[:3], out, jobs=0)
    corpus.build(scanned(folder), out, jobs=0)
    assert content(out) == everything


def test_a_changed_file_is_decoded_again(built, audio, tmp_path):
    folder, out = copied(built, audio, tmp_path)
    tunes.write(folder / "music/train/0.wav", tunes.tune(2.0, seed=77))
    updated = corpus.build(scanned(folder), out, jobs=0)
    (track,) = [t for t in updated.tracks if t.path.endswith("0.wav")]
    expected = decode.to_int16(decode.load(track.path, sample_rate_hz=8000))
    np.testing.assert_array_equal(updated.audio(track), expected)


def test_another_split_or_group_changes_the_table_only(built, audio, tmp_path, monkeypatch):
    folder, out = copied(built, audio, tmp_path)
    monkeypatch.setattr(parts, "pack", never)
    tracks = [track._replace(split="val", group="g") for track in scanned(folder)]
    updated = corpus.build(tracks, out, jobs=0)
    assert {(track.split, track.group) for track in updated.tracks} == {("val", "g")}


def test_audio_that_is_gone_stays_in_the_corpus(built, audio, tmp_path):
    folder, out = copied(built, audio, tmp_path)
    tracks, everything = scanned(folder), content(out)
    shutil.rmtree(folder)
    corpus.build(tracks, out, jobs=0)
    assert content(out) == everything


REASONS = {
    "silent.wav": "silent throughout",
    "hiss.wav": "silent throughout",
    "nan.wav": "NaN or infinite samples in second 1",
    "empty.flac": "empty file",
    "text.mp3": "no audio frames",
    "zero.wav": "holds no samples",
    "stub.wav": "less than 1 s is left",
    "missing.wav": "No such file",
}


def test_bad_files_are_skipped_by_name_with_the_reason(bad_files, tmp_path):
    names = ["good.wav", "cut.wav", *REASONS]
    tracks = [manifest.Track(str(bad_files / name)) for name in names]
    built = corpus.build(tracks, tmp_path / "C", jobs=1)
    assert [os.path.basename(track.path) for track in built.tracks] == ["good.wav", "cut.wav"]
    reasons = {os.path.basename(path): reason for path, reason in built.failures}
    assert list(reasons) == list(REASONS)
    for name, reason in REASONS.items():
        assert reason in reasons[name]
    (damage,) = built.damaged
    assert damage.path == str(bad_files / "cut.wav")
    assert "5.0 s decoded of 10.0 s promised" in damage.reason
    about = json.loads((tmp_path / "C/corpus.json").read_text())
    assert len(about["failures"]) == len(REASONS)


def test_bad_files_are_not_tried_again_until_they_change(bad_files, tmp_path, monkeypatch):
    tracks = [manifest.Track(str(bad_files / name)) for name in ("good.wav", "nan.wav", "gone.wav")]
    first = corpus.build(tracks, tmp_path / "C", jobs=0)
    with monkeypatch.context() as patch:
        patch.setattr(parts, "pack", never)
        assert corpus.build(tracks, tmp_path / "C", jobs=0).failures == first.failures
    tunes.write(bad_files / "nan.wav", tunes.tune(1.5))
    shutil.copy(bad_files / "good.wav", bad_files / "gone.wav")
    assert corpus.build(tracks, tmp_path / "C", jobs=0).failures == []


def test_what_lacked_ffmpeg_is_tried_again(bad_files, tmp_path, monkeypatch):
    if not ffmpeg.installed():
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-v", "error", "-i", bad_files / "good.wav", bad_files / "a.m4a"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    tracks = [manifest.Track(str(bad_files / name)) for name in ("good.wav", "a.m4a")]
    with monkeypatch.context() as patch:
        patch.setattr(ffmpeg, "installed", lambda: False)
        patch.setattr(containers, "installed", lambda: False)
        first = corpus.build(tracks, tmp_path / "C", jobs=0)
        assert "apt install ffmpeg" in first.failures[0].reason
    second = corpus.build(tracks, tmp_path / "C", jobs=0)
    assert (len(second.tracks), second.failures) == (2, [])


def test_when_no_file_is_usable_the_error_says_why(bad_files, tmp_path):
    tracks = [manifest.Track(str(bad_files / name)) for name in REASONS]
    with pytest.raises(ValueError, match=r"none of 8 files can be decoded: .*silent.wav: silent"):
        corpus.build(tracks, tmp_path / "C", jobs=0)
    with pytest.raises(ValueError, match="not built to its end"):
        corpus.Corpus.open(tmp_path / "C")


def test_peaks_a_little_over_full_scale_are_clipped_and_loud_files_turned_down(tmp_path):
    tune = tunes.tune(2.0, sample_rate_hz=8000)
    soundfile.write(tmp_path / "hot.wav", tune * 2.6, 8000, subtype="FLOAT")  # Peaks at 1.3.
    soundfile.write(tmp_path / "steps.wav", tune * 65536, 8000, subtype="FLOAT")
    tracks = [manifest.Track(str(tmp_path / name)) for name in ("hot.wav", "steps.wav")]
    built = corpus.build(tracks, tmp_path / "C", jobs=0)
    hot, steps = (built.audio(track).astype(float) / 32768 for track in built.tracks)
    np.testing.assert_allclose(hot, np.clip(tune * 2.6, -1, 1), atol=1e-4)
    np.testing.assert_allclose(steps, tune * 2, atol=1e-4)


def test_a_long_recording_is_no_response(tmp_path):
    tunes.write(tmp_path / "a.wav", tunes.tune(32.0, sample_rate_hz=8000), 8000)
    tunes.write(tmp_path / "b.wav", tunes.tune(1.0, sample_rate_hz=8000), 8000)
    tracks = [manifest.Track(str(tmp_path / n), kind="room") for n in ("a.wav", "b.wav")]
    built = corpus.build(tracks, tmp_path / "C", jobs=0)
    assert "longer than 30 s" in built.failures[0].reason


def test_settings_that_cannot_be_meant_are_refused_before_work_starts(built, audio, tmp_path, monkeypatch):
    tracks = scanned(audio)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/mum.txt").write_text("dear mum")
    with pytest.raises(ValueError, match="holds other files"):
        corpus.build(tracks, tmp_path / "letters", jobs=0)
    with pytest.raises(ValueError, match="holds 8000 Hz, 16000 Hz asked for"):
        corpus.build(tracks, built.folder, sample_rate_hz=16000, jobs=0)
    with pytest.raises(ValueError, match="no tracks"):
        corpus.build([], tmp_path / "C", jobs=0)
    with pytest.raises(ValueError, match="twice"):
        corpus.build(tracks[:1] * 2, tmp_path / "C", jobs=0)
    huge = [manifest.Track(tracks[0].path, seconds=1e12)]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=64 << 20))
    with pytest.raises(ValueError, match="GB free"):
        corpus.build(huge, tmp_path / "C", jobs=0)
    with pytest.raises(ValueError, match="no corpus; nafp corpus build makes one"):
        corpus.Corpus.open(tmp_path / "letters")


def test_two_builds_of_one_folder_do_not_mix(built, audio):
    with (
        journal.locked(built.folder),
        pytest.raises(ValueError, match=f"another process is building this corpus .process {os.getpid()} on"),
    ):
        corpus.build(scanned(audio), built.folder, jobs=0)


def test_a_corpus_that_lost_its_end_is_refused(built, audio, tmp_path):
    _, out = copied(built, audio, tmp_path)
    with open(out / "samples.i16", "r+b") as file:
        file.truncate(50000)
    with pytest.raises(ValueError, match="was it copied whole"):
        corpus.Corpus.open(out)
    with pytest.raises(ValueError, match=r"shorter than journal\.jsonl says"):
        corpus.build(scanned(audio), out, jobs=0)


def test_the_commands_do_what_they_say(bad_files, tmp_path):
    nafp = functools.partial(commands.nafp, "corpus")
    scan = nafp("scan", bad_files, f"--out={tmp_path / 'tracks.csv'}", "--split=test")
    assert scan.returncode == 0, scan.stderr
    assert "3 files skipped:" in scan.stdout or "2 files skipped:" in scan.stdout
    corpus = tmp_path / "new" / "C"  # The folder it goes into is made, too.
    command = ("build", f"--manifest={tmp_path / 'tracks.csv'}", f"--out={corpus}")
    done = nafp(*command, "--jobs=1")
    assert done.returncode == 0, done.stderr
    assert "1 file damaged, the rest kept:" in done.stdout
    assert f"{bad_files / 'nan.wav'}: NaN" in done.stdout
    assert "music test 2" in done.stdout
    assert "unchanged, nothing to decode" in nafp(*command).stderr
    wrong = nafp("build", "--manifest=/nowhere.csv", f"--out={corpus}")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("nafp corpus: /nowhere.csv: No such file")


def test_a_few_absurd_samples_do_not_turn_a_track_down_to_nothing(tmp_path):
    samples = tunes.tune(4.0, sample_rate_hz=8000)
    spoiled = samples.copy()
    spoiled[[100, 9000]] = 1e4, -1e6
    soundfile.write(tmp_path / "a.wav", spoiled, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", 32768 * samples, 8000, subtype="FLOAT")  # In steps of int16: another unit.
    built = corpus.build([manifest.Track(str(tmp_path / name)) for name in ("a.wav", "b.wav")], tmp_path / "C", jobs=0)
    spoiled[[100, 9000]] = 1, -1
    np.testing.assert_array_equal(built.audio(built.tracks[0]), decode.to_int16(spoiled))
    assert built.damaged == [
        (str(tmp_path / "a.wav"), "2 samples far beyond full scale, up to 1e+06 times; they are clipped")
    ]
    assert np.abs(built.audio(built.tracks[1])).max() >= 32767


def test_a_sample_that_no_unit_explains_is_refused_by_name(tmp_path):
    samples = tunes.tune(4.0, sample_rate_hz=8000)
    samples.view(np.uint32)[5000] ^= 1 << 30
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    tunes.write(tmp_path / "b.wav", tunes.tune(2.0))
    built = corpus.build([manifest.Track(str(tmp_path / name)) for name in ("a.wav", "b.wav")], tmp_path / "C", jobs=0)
    assert "where full scale is 1 in second 0" in built.failures[0].reason


def test_a_length_that_cannot_be_true_reserves_no_space(tmp_path):
    path = tunes.write(tmp_path / "a.wav", tunes.tune(2.0))
    built = corpus.build([manifest.Track(str(path), seconds=1e9)], tmp_path / "C", jobs=0)
    assert built.seconds(built.tracks[0]) == 2.0
