"""Folders of clips in the form of AMG-Embedding are written whole, continued, and read in order."""

import numpy as np
import pytest

from nafp import errors
from nafp.sequences import clips

ABOUT = {"model": {"sha256": "ab"}, "seconds": 30.0}


def versions(number: int, n: int = 2) -> list[np.ndarray]:
    return [np.full((4, 3), 10 * number + version, np.float32) for version in range(n)]


def test_clips_are_numbered_listed_by_value_and_read_back(tmp_path):
    writer = clips.Writer(tmp_path / "clips", ABOUT)
    for number in range(1, 12):
        writer.append(clips.Place("song", 30.0 * number), versions(number))
    listed = clips.listed(tmp_path / "clips")
    assert [clip.name for clip in listed] == [str(number) for number in range(1, 12)]
    assert [path.name for path in listed[9].versions] == ["10-00.npy", "10-01.npy"]
    np.testing.assert_array_equal(clips.read(listed[9].degraded[0]), versions(10)[1])
    assert len(clips.listed(tmp_path / "clips", most=3, versions=1)[-1].versions) == 1


def test_a_folder_is_continued_after_a_kill(tmp_path):
    writer = clips.Writer(tmp_path, ABOUT)
    writer.append(clips.Place("a, b", 0.0), versions(1))
    clips.write(tmp_path / "2-00.npy", versions(2)[0])  # Killed before its line was whole.
    with (tmp_path / clips.TABLE).open("a") as file:
        file.write("2,so")
    writer = clips.Writer(tmp_path, ABOUT)
    assert writer.places == [clips.Place("a, b", 0.0)]
    writer.append(clips.Place("song", 0.5), versions(2))
    assert (tmp_path / clips.TABLE).read_text() == 'id,track,start_s\n1,"a, b",0\n2,song,0.5\n'
    assert len(clips.listed(tmp_path)) == 2


@pytest.mark.parametrize("track", ["/m/caf\udce9.wav", "/m/two\nlines.wav", "/m/line\u2028mark.wav"])
def test_a_folder_is_continued_whatever_its_tracks_are_called(tmp_path, track):
    rows = np.ones((3, 4), np.float32)
    clips.Writer(tmp_path, {"model": 1}).append(clips.Place(track, 2.5), [rows])
    again = clips.Writer(tmp_path, {"model": 1})
    assert again.places == [clips.Place(track, 2.5)]
    again.append(clips.Place(track, 5.0), [rows])
    assert clips.places(tmp_path) == [clips.Place(track, 2.5), clips.Place(track, 5.0)]


def test_a_table_and_an_about_that_cannot_be_are_refused_in_one_line(tmp_path):
    (tmp_path / "clips.csv").write_text("id,track,start_s\n1,a.wav,soon\n")
    with pytest.raises(errors.Invalid, match=r"clips\.csv, line 2: is damaged"):
        clips.places(tmp_path)
    (tmp_path / "clips.json").write_text("[]")
    with pytest.raises(errors.Invalid, match=r"clips\.json is damaged: .*remove it to use the clips without it"):
        clips.about_of(tmp_path)


def test_a_name_may_have_digits_that_are_no_numbers(tmp_path):
    for name in ("10", "2", "x²", "x²2", "²"):
        clips.write(tmp_path / f"{name}-00.npy", np.ones((3, 4), np.float32))
    assert [clip.name for clip in clips.listed(tmp_path)] == ["2", "10", "x²", "x²2", "²"]


def test_clips_of_another_network_are_not_put_into_a_folder(tmp_path):
    clips.Writer(tmp_path, ABOUT).append(clips.Place("song", 0.0), versions(1))
    assert clips.about_of(tmp_path) == ABOUT
    with pytest.raises(errors.AlreadyExists, match="holds clips made with another model"):
        clips.Writer(tmp_path, {**ABOUT, "model": {"sha256": "cd"}})


def test_a_foreign_folder_is_not_written_into(tmp_path):
    clips.write(tmp_path / "1-00.npy", versions(1)[0])
    with pytest.raises(errors.AlreadyExists, match=r"clips without clips\.csv"):
        clips.Writer(tmp_path, ABOUT)


def test_chunks_of_a_clip_are_clips_of_their_own(tmp_path):
    for name in ("1-00_0", "1-00_1", "1-03_1", "1-03_0"):
        clips.write(tmp_path / f"{name}.npy", versions(1)[0])
    assert [(clip.name, len(clip.versions)) for clip in clips.listed(tmp_path)] == [("1_0", 2), ("1_1", 2)]


def test_what_is_no_clip_is_refused(tmp_path):
    with pytest.raises(errors.NotFound, match="nafp amg clips"):
        clips.listed(tmp_path / "missing")
    with pytest.raises(errors.Invalid, match="no clip in it"):
        clips.listed(tmp_path)
    clips.write(tmp_path / "7-01.npy", versions(7)[0])
    with pytest.raises(errors.Invalid, match="clip 7 has no clean version; it needs 7-00"):
        clips.listed(tmp_path)


@pytest.mark.parametrize(
    "rows, message",
    [(np.ones(3), "shape"), (np.ones((2, 5)), "need float32"), (np.full((2, 3), np.nan), "NaN")],
)
def test_files_that_hold_no_fingerprints_are_refused_by_name(tmp_path, rows, message):
    clips.write(tmp_path / "1-00.npy", rows)
    with pytest.raises(errors.Invalid, match=f"1-00.npy.*{message}"):
        clips.read(tmp_path / "1-00.npy", dim=3)
    (tmp_path / "1-00.npy").write_bytes(b"noise")
    with pytest.raises(errors.Invalid, match="no file of fingerprints"):
        clips.read(tmp_path / "1-00.npy")
