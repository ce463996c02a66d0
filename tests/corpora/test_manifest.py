import csv
import os
import pathlib

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode, ffmpeg
from nafp.corpora import kinds as original_tree
from nafp.corpora import manifest
from tests import tunes

RECORDINGS = pathlib.Path(__file__).parents[1] / "recordings"


@pytest.fixture
def folder(tmp_path):
    """Two albums, a cover and a file that is none, in 8 kHz WAV files of a second."""
    for name in ("b/2.wav", "b/1.flac", "a/3.WAV", "a/disc 2/4.ogg"):
        tunes.write(tmp_path / name, tunes.tune(1.0, sample_rate_hz=8000), 8000)
    (tmp_path / "b/cover.jpg").write_bytes(b"picture")
    (tmp_path / "b/._2.wav").write_bytes(b"a resource fork")
    (tmp_path / "b/bad.wav").write_bytes(b"nothing")
    return tmp_path


def names(tracks, folder):
    return [os.path.relpath(track.path, folder) for track in tracks]


def test_a_scan_finds_audio_at_any_depth_in_the_order_of_the_paths(folder):
    tracks, failures = manifest.scan(str(folder))
    assert names(tracks, folder) == ["a/3.WAV", "a/disc 2/4.ogg", "b/1.flac", "b/2.wav"]
    assert [(t.seconds, t.sample_rate_hz, t.channels) for t in tracks] == [(1.0, 8000, 1)] * 4
    assert [track.group for track in tracks] == ["a", "a/disc 2", "b", "b"]
    assert names(failures, folder) == ["b/bad.wav"]
    assert "libsndfile" in failures[0].reason


def test_the_number_of_threads_and_the_order_of_folders_change_nothing(folder):
    one = manifest.scan([str(folder / "a"), str(folder / "b")], jobs=1)
    many = manifest.scan([str(folder / "b"), str(folder / "a"), str(folder / "b")], jobs=8)
    assert [track.path for track in one[0]] == [track.path for track in many[0]]
    assert one[1] == many[1]


def test_links_are_followed_and_circles_are_left(folder):
    (folder / "b/again").symlink_to(folder)
    (folder / "linked").symlink_to(folder / "b", target_is_directory=True)
    tracks, _ = manifest.scan(str(folder))
    assert len(tracks) == 4


def test_a_single_file_may_be_scanned(folder):
    tracks, _ = manifest.scan(str(folder / "b/2.wav"))
    assert names(tracks, folder) == ["b/2.wav"]


def test_a_scan_that_finds_nothing_says_what_it_looked_for_and_where(tmp_path):
    (tmp_path / "notes.txt").write_text("no music")
    with pytest.raises(ValueError, match=rf"no audio files below {tmp_path}; looked for .*\.mp3"):
        manifest.scan(str(tmp_path))
    with pytest.raises(ValueError, match="missing: no such folder"):
        manifest.scan(str(tmp_path / "missing"))


def test_kind_and_split_can_be_said_for_all(folder):
    tracks, _ = manifest.scan(str(folder), kind="noise", split="test")
    assert {(track.kind, track.split) for track in tracks} == {("noise", "test")}
    with pytest.raises(ValueError, match="kind 'nois' is unknown; one of music, noise"):
        manifest.scan(str(folder), kind="nois")


@pytest.mark.parametrize(
    "path, kind, split, group",
    [
        ("music/train-10k-30s/000/000002.wav", "music", "train", "train"),
        ("music/val-query-db-500-30s/query/000/1.wav", "music", "val", "query"),
        ("music/val-query-db-500-30s/db/000/1.wav", "music", "val", "db"),
        ("music/test-query-db-500-30s/db/085/85461.wav", "music", "test", "db"),
        ("music/test-query-db-500-30s/query/085/85461.wav", "music", "test", "query"),
        ("music/test-dummy-db-100k-full/000/000010.wav", "music", "dummy", "dummy"),
        ("music/test-dummy-db-10k-30s/000/000010.wav", "music", "dummy", "dummy"),
        ("aug/bg/tr/pub.wav", "noise", "train", "bg"),
        ("aug/bg/ts/cafe/1.wav", "noise", "test", "bg"),
        ("aug/ir/tr/lecture_hall.wav", "room", "train", "ir"),
        ("aug/ir/ts/microphone/Beyer_M88.wav", "microphone", "test", "ir"),
        ("aug/ir/ts/Toshiba_Mic.wav", "microphone", "test", "ir"),
        ("aug/ir/ts/hall_mic2.wav", "room", "test", "ir"),
        ("aug/ir/ts/ceramics_room.wav", "room", "test", "ir"),
        ("aug/speech/train/a.wav", "speech", "train", "speech"),
        ("aug/speech/dev/a.wav", "speech", "val", "speech"),
        ("aug/speech/test/a.wav", "speech", "test", "speech"),
    ],
)
def test_the_original_authors_tree_is_known_from_any_folder_of_it(path, kind, split, group):
    for inside in (path, path.split("/", 1)[1], path.rsplit("/", 1)[1]):
        assert original_tree.place(f"/data/nafp/{path}", inside) == (kind, split, group)


@pytest.mark.parametrize(
    "path, kind, split",
    [
        ("noise/street/1.wav", "noise", ""),
        ("ir/hall.wav", "room", ""),
        ("ir/phone_mic.wav", "microphone", ""),
        ("val/noise.wav", "music", "val"),
        ("music/test/album/1.wav", "music", "test"),
        ("Miles/test pressing/1.wav", "music", ""),
        ("Miles/Blue/noise/1.wav", "music", ""),
    ],
)
def test_top_folders_named_by_kind_or_split_are_believed(path, kind, split):
    assert original_tree.place(f"/home/me/{path}", path)[:2] == (kind, split)


def test_the_trees_order_is_that_of_the_original_scripts(tmp_path):
    for name in ("10", "9", "a b", "A", "a", "a-b"):
        path = tmp_path / "music/train-10k-30s" / name / "1.wav"
        tunes.write(path, tunes.tune(0.1, sample_rate_hz=8000), 8000)
    tracks, _ = manifest.scan(str(tmp_path))
    theirs = sorted(str(path) for path in tmp_path.glob("**/*.wav"))
    assert [track.path for track in tracks] == theirs


def test_a_manifest_comes_back_as_it_was_written(folder):
    tracks, _ = manifest.scan(str(folder))
    tracks[0] = tracks[0]._replace(split="val", extra=(("licence", "CC0"), ("note", 'a "b", c')))
    tracks[1:] = [track._replace(extra=(("licence", ""), ("note", ""))) for track in tracks[1:]]
    manifest.write(folder / "tracks.csv", tracks)
    assert manifest.read(folder / "tracks.csv") == tracks
    assert sorted(os.listdir(folder)) == ["a", "b", "tracks.csv"]


def test_a_folder_may_move_with_its_manifest(folder, tmp_path_factory):
    tracks, _ = manifest.scan(str(folder))
    manifest.write(folder / "tracks.csv", tracks)
    moved = tmp_path_factory.mktemp("moved") / "here"
    folder.rename(moved)
    found = manifest.read(moved / "tracks.csv")
    assert all(os.path.exists(track.path) for track in found)
    assert names(found, moved) == names(tracks, folder)


def test_files_outside_the_manifests_folder_are_named_in_full(folder, tmp_path_factory):
    tracks, _ = manifest.scan(str(folder))
    path = tmp_path_factory.mktemp("lists") / "tracks.csv"
    manifest.write(path, tracks)
    assert manifest.read(path) == tracks


def test_a_name_that_is_no_text_survives(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
    manifest.write(tmp_path / "tracks.csv", [manifest.Track(path)])
    assert manifest.read(tmp_path / "tracks.csv")[0].path == path


def write_rows(path, *rows):
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(rows)
    return path


def test_only_the_path_is_needed_and_foreign_words_are_understood(tmp_path):
    rows = [["path", "kind", "split"], ["a.wav", "", ""], ["b.wav", "music-midi", "dev"]]
    rows += [["c.wav", "noise-sfx", "tr"], ["d.wav", "ir", ""], ["mic/e.wav", "ir", ""]]
    rows += [["f.wav", "ir-cab", "ts"], ["g.wav", "ir-sim", "dummy"]]
    tracks = manifest.read(write_rows(tmp_path / "tracks.csv", *rows))
    assert [(track.kind, track.split) for track in tracks] == [
        ("music", ""),
        ("music", "val"),
        ("noise", "train"),
        ("room", ""),
        ("microphone", ""),
        ("microphone", "test"),
        ("room", "dummy"),
    ]
    assert tracks[0].path == str(tmp_path / "a.wav")


def test_lists_of_pfann_are_read(tmp_path):
    rows = [["file", "duration", "sample_rate", "channels"], ["a.mp3", "30.5", "44100", "2"]]
    track = manifest.read(write_rows(tmp_path / "tracks.csv", *rows))[0]
    assert track[:4] == (str(tmp_path / "a.mp3"), 30.5, 44100, 2)


@pytest.mark.parametrize(
    "rows, complaint",
    [
        ([["name"], ["a.wav"]], "a column named path is needed"),
        ([["path"]], "names no file"),
        ([["path", "kind"], ["a.wav", "musik"]], "line 2: kind 'musik' is unknown; one of music"),
        ([["path", "split"], ["a", ""], ["b", "trian"]], "line 3: split 'trian' is unknown"),
        ([["path", "seconds"], ["a.wav", "long"]], "line 2: seconds: 'long' is not a number"),
        ([["path", "seconds"], ["a.wav", "-3"]], "line 2: seconds: '-3' is not a number"),
        ([["path"], ["a.wav"], ["./a.wav"]], "lists .*a.wav twice"),
        ([["path", "kind"], ["", "music"]], "line 2: no path"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, rows, complaint):
    with pytest.raises(ValueError, match=complaint):
        manifest.read(write_rows(tmp_path / "tracks.csv", *rows))


def test_a_missing_manifest_says_how_to_make_one(tmp_path):
    with pytest.raises(ValueError, match="nafp corpus scan"):
        manifest.read(tmp_path / "tracks.csv")


def test_shares_are_kept_and_groups_stay_together():
    rng = np.random.default_rng(0)
    tracks = [manifest.Track(f"{i}.wav", group=f"g{rng.integers(2000)}") for i in range(5000)]
    split = manifest.assign_splits(tracks, val=0.1, test=0.2)
    shares = {name: np.mean([t.split == name for t in split]) for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.03)
    by_group = {(track.group, track.split) for track in split}
    assert len(by_group) == len({track.group for track in tracks})


def test_more_tracks_leave_the_split_of_the_others_as_it_is():
    tracks = [manifest.Track(f"{i}.wav") for i in range(100)]
    some = manifest.assign_splits(tracks[:50], val=0.3)
    assert manifest.assign_splits(tracks, val=0.3)[:50] == some


def test_what_has_a_split_or_is_no_music_keeps_its_own():
    tracks = [manifest.Track("a.wav", split="dummy"), manifest.Track("b.wav", kind="noise")]
    assert manifest.assign_splits(tracks, val=1.0) == tracks
    with pytest.raises(ValueError, match="parts of 1"):
        manifest.assign_splits(tracks, val=0.8, test=0.4)


def test_the_shipped_recordings_are_read_with_their_table_and_without():
    listed = manifest.read(RECORDINGS / "RECORDINGS.csv")
    found, failures = manifest.scan(str(RECORDINGS))
    assert failures == []
    assert sorted(track.path for track in listed) == [track.path for track in found]
    kinds = {track.path: track.kind for track in listed}
    assert {track.path: track.kind for track in found} == kinds


@pytest.mark.skipif(ffmpeg.installed(), reason="ffmpeg is installed")
def test_without_ffmpeg_what_needs_it_is_a_failure_among_tracks(folder):
    (folder / "b/5.m4a").write_bytes(b"anything")
    _, failures = manifest.scan(str(folder))
    assert "ffmpeg" in {failure.path: failure.reason for failure in failures}[str(folder / "b/5.m4a")]


def test_every_suffix_is_lower_case_and_of_one_reader():
    assert not decode.SNDFILE & decode.FFMPEG
    assert all(s == s.lower() and s.startswith(".") for s in decode.SNDFILE | decode.FFMPEG)


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("disc 2"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    tracks, failures = manifest.scan(str(folder))
    assert names(tracks, folder) == ["a/3.WAV", "b/1.flac", "b/2.wav"]
    assert failures[0] == (str(folder / "a/disc 2"), "the folder cannot be read: Permission denied")
    with pytest.raises(ValueError, match="disc 2: the folder cannot be read"):
        manifest.audio_files(folder)
    with pytest.raises(
        ValueError, match=r"no audio files below .*disc 2: the folder cannot be read: Permission denied"
    ):
        manifest.scan(str(folder / "a/disc 2"))


def test_a_folder_may_be_nested_deeper_than_python_recurses(tmp_path):
    folders = [tmp_path.joinpath(*"d" * n) for n in range(1, 1200)]
    for place in folders:
        place.mkdir()
    (folders[-1] / "a.wav").write_bytes(b"x")
    assert manifest.audio_files(tmp_path) == [str(folders[-1] / "a.wav")]
    (folders[-1] / "a.wav").unlink()
    for place in reversed(folders):  # pytest's own clean-up recurses.
        place.rmdir()


def test_a_link_to_itself_is_one_file_that_cannot_be_read(folder):
    os.symlink(folder / "b/loop.wav", folder / "b/loop.wav")
    os.symlink(folder / "loop", folder / "loop")
    tracks, failures = manifest.scan(str(folder))
    assert len(tracks) == 4
    assert "b/loop.wav" in names(failures, folder)


def test_whole_numbers_may_be_written_with_a_decimal_point(tmp_path):
    rows = ["path", "seconds", "sample_rate_hz", "channels"], ["a.wav", "2.5", "44100.0", "2.0"]
    (track,) = manifest.read(write_rows(tmp_path / "tracks.csv", *rows))
    assert track[1:4] == (2.5, 44100, 2)
    with pytest.raises(errors.Invalid, match=r"line 2: channels: '1\.5' is not a whole number of at least 0"):
        manifest.read(write_rows(tmp_path / "tracks.csv", ["path", "channels"], ["a.wav", "1.5"]))


@pytest.mark.parametrize("value", ["1e300", "1e12", "nan", "inf", "-1", "1_0e999"])
def test_an_absurd_length_is_refused_with_its_line(tmp_path, value):
    with pytest.raises(errors.Invalid, match=r"line 2: seconds: .* (cannot be true|not a number)"):
        manifest.read(write_rows(tmp_path / "tracks.csv", ["path", "seconds"], ["a.wav", value]))


def test_a_table_in_western_european_bytes_is_read_as_text_and_finds_its_files(tmp_path):
    tunes.write(tmp_path / "Café.wav", tunes.tune(0.5))
    text = "path,title\r\nCafé.wav,Déjà vu – “live”\r\nnaïve.wav,plain\r\n"
    (tmp_path / "tracks.csv").write_bytes(text.encode("cp1252"))
    tracks = manifest.read(tmp_path / "tracks.csv")
    assert tracks[0] == manifest.Track(str(tmp_path / "Café.wav"), extra=(("title", "Déjà vu – “live”"),))
    assert tracks[1].path == os.fsdecode(os.fsencode(tmp_path) + b"/na\xefve.wav")  # Nobody knows its encoding.
    (tmp_path / "tracks.csv").write_bytes(text.encode("utf-16"))
    assert manifest.read(tmp_path / "tracks.csv")[0] == tracks[0]


def test_a_table_that_no_program_can_have_meant_is_refused_with_its_line(tmp_path):
    (tmp_path / "nul.csv").write_bytes(b"path\na.wav\nb\0.wav\n")
    (tmp_path / "huge.csv").write_text("path,title\na.wav," + 200_000 * "x" + "\n")
    (tmp_path / "open.csv").write_text('path\na.wav\n"b.wav\n' + 40_000 * "c.wav\n")
    os.mkfifo(tmp_path / "pipe.csv")
    reasons = {"nul": "line 3: a NUL byte", "huge": "line 2: field larger", "open": "quote left open", "pipe": "a pipe"}
    for name, reason in reasons.items():
        with pytest.raises(errors.Invalid, match=reason):
            manifest.read(tmp_path / f"{name}.csv")
