import os
import pickle
import random

import numpy as np
import pytest

from nafp import errors
from nafp.corpora import corpus, lists, manifest, row_ids
from tests import tunes


@pytest.fixture
def music(tmp_path):
    for name in ("a/1.wav", "a/2.wav", "b/3.wav"):
        tunes.write(tmp_path / "music" / name, tunes.tune(1.0, sample_rate_hz=8000), 8000)
    return tmp_path / "music"


def paths(tracks, folder):
    return [os.path.relpath(track.path, folder) for track in tracks]


@pytest.mark.parametrize("name", ["list.csv", "list.txt", "list.pkl", "list.m3u"])
def test_a_list_of_any_form_reads_back_the_files_it_was_written_with(tmp_path, music, name):
    tracks, _ = manifest.scan(str(music))
    lists.write(tmp_path / name, tracks)
    assert [track.path for track in lists.read(tmp_path / name)] == [t.path for t in tracks]
    sources = corpus.sources(tmp_path / name, sample_rate_hz=8000)
    assert [source.name for source in sources] == [track.path for track in tracks]


def test_pfanns_csv_is_relative_to_its_music_folder_both_ways(tmp_path, music):
    tracks, _ = manifest.scan(str(music))
    lists.write(tmp_path / "p.csv", tracks, form="pfann", root=str(music))
    text = (tmp_path / "p.csv").read_text()
    assert text.splitlines()[:2] == ["file,duration,sample_rate,channels", "a/1.wav,1.0,8000,1"]
    again = lists.read(tmp_path / "p.csv", root=str(music))
    assert [track[:4] for track in again] == [track[:4] for track in tracks]
    with pytest.raises(ValueError, match=r"not below .*say --root"):
        lists.write(tmp_path / "p.csv", tracks, form="pfann", root=str(music / "a"))


def test_a_text_list_skips_remarks_and_starts_from_its_own_folder(tmp_path):
    (tmp_path / "l.txt").write_text("# music\n\na/1.wav\n/abs/2.wav\n")
    assert [t.path for t in lists.read(tmp_path / "l.txt")] == [
        str(tmp_path / "a/1.wav"),
        "/abs/2.wav",
    ]
    (tmp_path / "e.txt").write_text("# nothing\n")
    with pytest.raises(ValueError, match="names no file"):
        lists.read(tmp_path / "e.txt")


def test_of_a_pickled_path_the_last_two_parts_count_below_a_root(tmp_path):
    stored = ["/home/somebody/music/a/1.wav", "C:\\music\\b\\3.wav"]
    (tmp_path / "l.pkl").write_bytes(pickle.dumps(stored))
    found = lists.read(tmp_path / "l.pkl", root="/data")
    assert [track.path for track in found] == ["/data/a/1.wav", "/data/b/3.wav"]


def test_what_is_no_list_of_paths_is_refused(tmp_path):
    (tmp_path / "l.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="not a list of paths"):
        lists.read(tmp_path / "l.pkl")
    with pytest.raises(ValueError, match="no list"):
        lists.read(tmp_path / "l.json")
    with pytest.raises(ValueError, match=r"written as .csv"):
        lists.write(tmp_path / "l.json", [])
    with pytest.raises(ValueError, match=r"pickle is not written into .csv"):
        lists.write(tmp_path / "l.csv", [], form="pickle")


class Runs:
    """Runs a command when Python's own reader reads it."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def clips(n, seconds=30.0):
    return [manifest.Track(f"/db/{i:03d}.wav", seconds) for i in range(n)]


def test_test_ids_become_files_and_seconds_and_back(tmp_path):
    tracks = clips(500)
    ids = np.sort(np.random.default_rng(0).choice(29_500, 2000, replace=False))
    row_ids.write(tmp_path / "ids.npy", ids)
    stored = np.load(tmp_path / "ids.npy")
    assert stored.dtype == np.int64
    found = row_ids.places(row_ids.read(tmp_path / "ids.npy"), random.Random(0).sample(tracks, 500))
    for place in found[::100]:
        assert place.path == tracks[place.id // 59].path
        assert place.row == place.id % 59
        assert place.start_s == 0.5 * place.row
    row_ids.write_places(tmp_path / "ids.csv", found)
    starts = row_ids.read_places(tmp_path / "ids.csv")
    np.testing.assert_array_equal(row_ids.ids_of(starts, tracks), ids)


def test_ids_of_a_pickled_dict_are_chosen_by_its_keys(tmp_path):
    path = tmp_path / "ids.pkl"
    path.write_bytes(pickle.dumps({10: {1: [5, 3], 19: np.array([7, 9])}, 30: {59: [1]}}))
    np.testing.assert_array_equal(row_ids.read(f"{path}#10.1"), [5, 3])
    np.testing.assert_array_equal(row_ids.read(f"{path}#10.19"), [7, 9])
    with pytest.raises(ValueError, match=r"several lists; choose one, as in .*#10; .* 10, 30"):
        row_ids.read(path)
    with pytest.raises(ValueError, match="no '20'; there are 1, 19"):
        row_ids.read(f"{path}#10.20")


def test_a_folder_of_ids_may_have_a_hash_in_its_name(tmp_path):
    folder = tmp_path / "set #2"
    folder.mkdir()
    np.save(folder / "ids.npy", np.array([4, 2]))
    (folder / "ids.pkl").write_bytes(pickle.dumps({10: {1: [5, 3]}}))
    np.testing.assert_array_equal(row_ids.read(folder / "ids.npy"), [4, 2])
    np.testing.assert_array_equal(row_ids.read(f"{folder}/ids.pkl#10.1"), [5, 3])


@pytest.mark.parametrize(("values", "reason"), [([[1], [2, 3]], "different lengths"), ({}, "no list of row numbers")])
def test_a_pickle_that_holds_no_ids_is_refused_in_one_line(tmp_path, values, reason):
    (tmp_path / "ids.pkl").write_bytes(pickle.dumps(values))
    with pytest.raises(errors.Invalid, match=reason):
        row_ids.read(tmp_path / "ids.pkl")
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(errors.Invalid, match="a pipe or a device"):
        row_ids.read(tmp_path / "pipe.pkl")


def test_ids_that_do_not_fit_their_list_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows 0 .. 117"):
        row_ids.places([118], clips(2))
    with pytest.raises(ValueError, match="beyond its last row"):
        row_ids.ids_of([("/db/000.wav", 29.5)], clips(2))
    with pytest.raises(ValueError, match="not in the list"):
        row_ids.ids_of([("/db/9.wav", 0.0)], clips(2))
    with pytest.raises(ValueError, match="length is not known"):
        row_ids.places([0], clips(2, seconds=0.0))
    np.save(tmp_path / "f.npy", np.array([0.5]))
    with pytest.raises(ValueError, match="row numbers"):
        row_ids.read(tmp_path / "f.npy")
    np.save(tmp_path / "o.npy", np.array([Runs(os.mkdir, str(tmp_path / "p"))]), allow_pickle=True)
    with pytest.raises(ValueError, match="not an array of row numbers"):
        row_ids.read(tmp_path / "o.npy")
    assert not (tmp_path / "p").exists()


def listed(folder, text, suffix=".m3u", encoding="utf-8"):
    path = folder / f"list{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return [os.path.relpath(track.path, folder) for track in lists.read(path)]


ODD = ("#1 hit.opus", " two  ends ", "100%25.wav", "a\\b.wav", "music/ä ö.mp3", "#tag.mp3")


@pytest.fixture
def odd(tmp_path):
    for name in ODD:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"sound")
    return tmp_path


def test_a_name_is_taken_as_it_stands_where_such_a_file_exists(odd):
    assert listed(odd, "\n".join(ODD) + "\n") == list(ODD)
    assert listed(odd, "\r\n".join(ODD) + "\r\n") == list(ODD)
    assert listed(odd, "\r".join(["a.wav", "b.wav"])) == ["a.wav", "b.wav"]


def test_remarks_are_no_names(odd):
    remarks = "#EXTM3U\n#EXTINF:3,Song.mp3\n# old/song.mp3\n#\n# a word\n#music/ä ö.mp3\n"
    assert listed(odd, remarks + "a.wav\n") == ["a.wav"]
    assert listed(odd, remarks + "#2 hit.opus\n") == ["#2 hit.opus"]  # Missing, and not silently so.


def test_a_playlist_may_write_names_as_urls_and_with_backslashes(odd):
    text = f"file://{odd}/music/%C3%A4%20%C3%B6.mp3\nmusic/%C3%A4%20%C3%B6.mp3\nmusic\\ä ö.mp3\n  a.wav \n"
    assert listed(odd, text) == [*3 * ["music/ä ö.mp3"], "a.wav"]
    assert listed(odd, f"FILE://localhost{odd}/gone%20.wav") == ["gone .wav"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_a_list_may_have_any_usual_encoding(odd, encoding):
    assert listed(odd, "music/ä ö.mp3\r\na.wav\r\n", encoding=encoding) == ["music/ä ö.mp3", "a.wav"]


def test_a_name_that_is_no_text_is_read_as_its_bytes(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\xfd.wav")
    with pytest.raises(errors.Invalid, match="begins as UTF-16"):
        lists.read(tmp_path / "l.txt")
    (tmp_path / "l.txt").write_bytes(b"a\xff.wav\n")
    assert lists.read(tmp_path / "l.txt")[0].path == os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.wav")


def test_what_cannot_be_a_list_is_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    os.symlink("/dev/zero", tmp_path / "device.m3u")
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "nul.txt").write_bytes(b"a.wav\nb.wav\n\0\0\0")
    (tmp_path / "long.txt").write_text("a.wav\n" + 100_000 * "x")
    (tmp_path / "utf16.txt").write_bytes("a.wav\n".encode("utf-16-le"))  # Without its mark.
    for name, reason in {
        "pipe.txt": "a pipe or a device, not a list",
        "device.m3u": "a pipe or a device, not a list",
        "pipe.pkl": "a pipe or a device, not a list",
        "folder.txt": "a folder, not a list",
        "nul.txt": "line 3: a NUL byte",
        "long.txt": "line 2: 100000 characters",
        "utf16.txt": "line 1: a NUL byte.*UTF-8",
    }.items():
        with pytest.raises(errors.Invalid, match=reason):
            lists.read(tmp_path / name)


def test_a_name_with_a_line_break_is_refused_by_text_lists_and_kept_by_tables(tmp_path):
    track = manifest.Track(str(tmp_path / "a\nb.wav"))
    with pytest.raises(errors.Invalid, match="no way to write a line break"):
        lists.write(tmp_path / "l.txt", [track])
    lists.write(tmp_path / "l.csv", [track])
    assert lists.read(tmp_path / "l.csv") == [track]


@pytest.mark.parametrize("start_s", ["nan", "inf", "-1", "soon", ""])
def test_a_place_that_is_none_is_refused(tmp_path, start_s):
    (tmp_path / "p.csv").write_text(f"path,start_s\na.wav,{start_s}\n")
    with pytest.raises(errors.Invalid, match="is not a number of seconds of at least 0"):
        row_ids.read_places(tmp_path / "p.csv")


def test_a_table_that_cannot_be_is_refused_in_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "huge.csv").write_text("path,start_s\na.wav," + 200_000 * "1")
    (tmp_path / "other.csv").write_text("file\na.wav\n")
    for name, reason in {"pipe": "a pipe", "huge": "line 2: field larger", "other": "path and start_s are"}.items():
        with pytest.raises(errors.Invalid, match=reason):
            row_ids.read_places(tmp_path / f"{name}.csv")
