"""Laws of a database's storage: what is found, what a reader sees, what a disk may do to it."""

import contextlib
import os
import pathlib
import resource

import numpy as np
import pytest

from nafp.search import catalogue, codes, segment_files, snapshot, writer, writer_lock
from tests import killed_writer

SEAL = 640
FULL = "the disk is full|the disk takes no more"  # The latter is how sqlite says it at a limit.


def unit(n, dim=16, seed=0):
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def folder(tmp_path):
    killed_writer.create(str(tmp_path / "db"))
    return tmp_path / "db"


def fill(folder, n, *, first=0, rows=40):
    """Adds tracks "0", "1", ... of random rows, from their numbers."""
    with writer.Writer(folder, seal_rows=SEAL) as writing:
        for number in range(first, first + n):
            writing.append(
                str(number), 1.0, unit(rows, seed=number), metadata={"title": f"T{number}"}
            )


def opened(folder):
    return snapshot.Snapshot(pathlib.Path(folder), catalogue.Catalogue(folder))


def names(there):
    return list(there.rows.tracks)


def test_a_tail_is_searched_exactly(folder):
    fill(folder, 12)
    there, queries = opened(folder), unit(7, seed=100)
    scores, near = there.index.search(queries, 10)
    cosines = queries @ there.rows.read(0, len(there.rows)).T
    expected = np.argsort(-cosines, axis=1)[:, :10]
    np.testing.assert_array_equal(near, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, expected, 1), atol=2e-3)


def test_index_files_find_what_a_search_of_all_rows_finds(folder):
    fill(folder, 100)
    there = opened(folder)
    assert len(catalogue.Catalogue(folder).segments()) > 3
    rows = np.arange(0, len(there.rows), 7)
    noisy = there.rows.take(rows) + 0.3 * unit(len(rows), seed=9)
    _, near = there.index.search(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), 100)
    assert (near == rows[:, None]).any(axis=1).mean() > 0.98
    assert all(len(set(each)) == len(each) for each in near.tolist())


def test_many_index_files_become_few(folder):
    for number in range(20):
        fill(folder, 17, first=17 * number)
    segments = catalogue.Catalogue(folder).segments()
    assert len(segments) < segment_files.FAN
    assert max(segment.n_rows for segment in segments) >= segment_files.FAN * SEAL
    edges = [(segment.first_row, segment.first_row + segment.n_rows) for segment in segments]
    assert [first for first, _ in edges] == [0, *(end for _, end in edges)][: len(edges)]
    assert sorted(path.name for path in folder.glob("segment-*")) == sorted(
        each.file for each in segments
    )
    there = opened(folder)
    _, near = there.index.search(unit(1, seed=333)[:1], 5)
    assert there.rows.tracks[int(there.rows.track_of(near[:, :1])[0, 0])] == "333"


@pytest.mark.parametrize("n_tracks", [6, 60])
def test_removed_tracks_are_never_found_however_near_they_are(folder, n_tracks):
    fill(folder, n_tracks)
    with writer.Writer(folder, seal_rows=SEAL) as writing:
        same = np.repeat(unit(1, seed=77), 300, axis=0)
        writing.append("loop", 1.0, same)
        writing.append("other", 1.0, same[:3])
        assert writing.remove(["loop"]) == 1
    there = opened(folder)
    scores, near = there.index.search(same[:1], 20)
    assert "loop" not in names(there)
    assert (near >= 0).all()
    found = there.rows.tracks[int(there.rows.track_of(near[0, :1])[0])]
    assert found == "other"
    assert np.isfinite(scores).all()


def test_a_database_may_be_empty_and_become_so(folder):
    there = opened(folder)
    assert (there.index.search(unit(2), 5)[1] == -1).all()
    fill(folder, 3)
    with writer.Writer(folder) as writing:
        writing.remove(["0", "1", "2"])
    assert (opened(folder).index.search(unit(2), 5)[1] == -1).all()
    with writer.Writer(folder) as writing:
        writing.compact()
    assert len(opened(folder).rows) == 0


def test_fewer_rows_than_asked_for_are_filled_up_with_minus_one(folder):
    fill(folder, 1, rows=8)
    scores, near = opened(folder).index.search(unit(2), 100)
    assert sorted(near[0]) == list(range(8))
    assert scores.shape == near.shape


def test_a_reader_sees_one_moment_whatever_a_writer_does(folder):
    fill(folder, 40)
    before = opened(folder)
    rows = before.rows.read(0, len(before.rows))
    asked = unit(40, seed=5)[:3]
    answers = before.index.search(asked, 10)
    with writer.Writer(folder, seal_rows=SEAL) as writing:
        writing.remove(["3", "4"])
        writing.append("new", 1.0, unit(40, seed=1000))
        assert "new" in names(opened(folder))  # Acknowledged: others see it at once.
        writing.compact("int8")
    assert names(before) == [str(n) for n in range(40)]
    np.testing.assert_array_equal(before.rows.read(0, len(rows)), rows)
    np.testing.assert_array_equal(before.index.search(asked, 10), answers)
    after = opened(folder)
    assert names(after) == [*(str(n) for n in range(40) if n not in (3, 4)), "new"]


def test_one_writer_at_a_time_and_the_second_is_told_who_it_is(folder):
    with writer.Writer(folder), pytest.raises(writer_lock.Locked) as told:
        writer.Writer(folder)
    assert f"process {os.getpid()} on " in str(told.value)
    assert "since 20" in str(told.value)
    writer.Writer(folder).close()


@pytest.mark.parametrize(
    "name, rows, said",
    [
        ("0", unit(5), "of this name"),
        ("new", unit(5, dim=8), r"\[n, 16\]"),
        ("new", unit(0), "n > 0"),
        ("new", 3 * unit(5), "row 0: this vector has length 3"),
        ("new", unit(5) * np.nan, "NaN"),
    ],
)
def test_what_is_no_track_is_refused_and_changes_nothing(folder, name, rows, said):
    fill(folder, 2)
    with writer.Writer(folder) as writing:
        with pytest.raises(ValueError, match=said):
            writing.append(name, 1.0, rows)
        writing.append("good", 1.0, unit(4, seed=4))
    there = opened(folder)
    assert names(there) == ["0", "1", "good"]
    assert len(there.rows) == 84


def add_together(writing, *named):
    with writing.together():
        for seed, name in enumerate(named, 4):
            writing.append(name, 1.0, unit(4, seed=seed))


def test_of_tracks_added_together_all_are_there_or_none(folder):
    fill(folder, 2)
    with writer.Writer(folder) as writing:
        with pytest.raises(ValueError, match="of this name"):
            add_together(writing, "a", "1")
        assert names(opened(folder)) == ["0", "1"]
        add_together(writing, "a", "b")
    there = opened(folder)
    assert names(there) == ["0", "1", "a", "b"]
    np.testing.assert_allclose(there.rows.read(84, 88), unit(4, seed=5), atol=1e-3)


def test_a_track_takes_the_place_of_one_of_its_name(folder):
    fill(folder, 3)
    with writer.Writer(folder) as writing:
        writing.append("1", 2.0, unit(9, seed=50), replace=True)
    book = catalogue.Catalogue(folder)
    assert (book.track("1").n_rows, book.track("1").metadata) == (9, {})
    assert book.counts() == (3, 89, 4.0)


def test_names_that_are_no_text_are_kept(folder):
    name = os.fsdecode(b"/music/\xff\xe9t\xe9.mp3")
    with writer.Writer(folder) as writing:
        writing.append(name, 1.0, unit(5))
        assert writing.catalogue.has_name(name)
    assert names(opened(folder)) == [name]
    assert catalogue.Catalogue(folder).track(name).name == name


@pytest.mark.parametrize("storage", codes.STORAGES)
def test_a_storage_keeps_rows_of_length_one(storage):
    codec, rows = codes.codec(storage, dim=128), unit(500, dim=128)
    kept = codec.encode(rows)
    back = codec.decode(kept)
    assert kept.shape == (500, codec.row_bytes)
    assert kept.dtype == np.uint8
    least = {"float32": 1 - 1e-6, "float16": 0.999999, "int8": 0.9998, "int4": 0.97}[storage]
    assert (np.vecdot(rows, back) / np.linalg.norm(back, axis=1)).min() >= least
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, atol=1e-3)
    windows = kept.reshape(50, 10, -1)
    np.testing.assert_array_equal(codec.decode(windows), back.reshape(50, 10, -1))


@pytest.mark.parametrize("storage", codes.STORAGES)
def test_bytes_that_a_disk_damaged_are_still_numbers(storage):
    codec = codes.codec(storage, dim=16)
    junk = np.random.default_rng(0).integers(0, 256, (2000, codec.row_bytes), np.uint8)
    junk[0], junk[1] = 255, 0
    assert np.isfinite(codec.decode(junk)).all()


def test_an_unknown_storage_says_which_there_are():
    with pytest.raises(ValueError, match="float32, float16, int8, int4"):
        codes.codec("int3", dim=16)


@pytest.mark.parametrize("storage", ["float32", "int8", "int4"])
def test_compacting_changes_storage_and_gives_space_back(folder, storage):
    fill(folder, 60)
    before = opened(folder)
    with writer.Writer(folder, seal_rows=SEAL) as writing:
        writing.remove([str(n) for n in range(0, 60, 3)])
        writing.compact(storage)
        writing.append("new", 1.0, unit(9, seed=3))
    after = opened(folder)
    codec = codes.codec(storage, dim=16)
    assert len(after.rows) == 40 * 40 + 9
    assert after.rows.path.stat().st_size == len(after.rows) * codec.row_bytes
    assert len(list(folder.glob("fingerprints-*"))) == 1
    for number in (1, 32, 59):
        place = names(after).index(str(number))
        first, end = after.rows.first_rows[place], after.rows.end_rows[place]
        was = before.rows.read(40 * number, 40 * number + 40)
        assert np.vecdot(after.rows.read(first, end), was).min() > 0.95
    assert catalogue.Catalogue(folder).track("59").metadata == {"title": "T59"}


def test_windows_over_the_ends_of_the_log_are_clipped(folder):
    fill(folder, 1)
    rows = opened(folder).rows
    everything = rows.read(0, 40)
    starts = np.array([-3, 0, 37, 39, 12])
    places = np.clip(starts[:, None] + np.arange(5), 0, 39)
    np.testing.assert_array_equal(rows.windows(starts, 5), everything[places])
    np.testing.assert_array_equal(
        rows.take(np.array([[1, 2], [39, 0]])), everything[[[1, 2], [39, 0]]]
    )


@contextlib.contextmanager
def full_disk(n_bytes):
    """Within, no file can grow beyond this size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def add_until_full(folder, added):
    with writer.Writer(folder, seal_rows=10**9) as writing:
        for number in range(30, 3000):
            writing.append(str(number), 1.0, unit(40, seed=number))
            added.append(str(number))


def test_a_full_disk_is_a_clear_error_and_what_was_added_stays(folder):
    fill(folder, 30)
    size, added = max(path.stat().st_size for path in folder.iterdir()), []
    with full_disk(size + 200_000), pytest.raises(writer_lock.Unwritable, match=FULL):
        add_until_full(folder, added)
    assert len(added) > 5
    assert names(opened(folder)) == [*(str(n) for n in range(30)), *added]
    fill(folder, 2, first=5000)
    assert names(opened(folder))[-2:] == ["5000", "5001"]


def compact(folder):
    with writer.Writer(folder, seal_rows=10**9) as writing:
        writing.compact("float32")


def seal(folder):
    writer.Writer(folder, seal_rows=100).close()


@pytest.mark.parametrize("change", [compact, seal])
def test_an_index_or_a_compaction_that_does_not_fit_leaves_all_as_it_was(folder, change):
    fill(folder, 15)
    before = opened(folder).rows.read(0, 600)
    with full_disk(1000), pytest.raises(writer_lock.Unwritable, match=FULL):
        change(folder)
    there = opened(folder)
    np.testing.assert_array_equal(there.rows.read(0, 600), before)
    fill(folder, 20, first=100)
    assert len(names(opened(folder))) == 35
    assert len(list(folder.glob("*.tmp"))) == 0


def test_a_half_written_row_is_taken_back(folder, monkeypatch):
    fill(folder, 3)
    real = os.pwrite
    with writer.Writer(folder) as writing:

        def full(handle, data, place):
            monkeypatch.setattr(
                os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
            )
            return real(handle, bytes(data)[:100], place)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(writer_lock.Unwritable, match=r"ENOSPC.*before is safe; make room"):
            writing.append("3", 1.0, unit(40))
        monkeypatch.setattr(os, "pwrite", real)
        writing.append("4", 1.0, unit(40, seed=4))
    there = opened(folder)
    assert names(there) == ["0", "1", "2", "4"]
    np.testing.assert_allclose(there.rows.read(120, 160), unit(40, seed=4), atol=1e-3)


@contextlib.contextmanager
def without_rights(folder):
    """Within, this process may read the folder and no more, even if root runs the tests."""
    above = [folder, *folder.parents[:3]]
    modes = [path.stat().st_mode for path in above]
    for path in above:
        os.chmod(path, 0o555)
    was_root = os.geteuid() == 0
    if was_root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if was_root:
            os.setresuid(0, 0, 0)
        for path, mode in zip(above, modes):
            os.chmod(path, mode)


@pytest.mark.parametrize("was_killed", [False, True])
def test_a_read_only_folder_answers_and_refuses_to_be_written(folder, was_killed):
    fill(folder, 4)
    if was_killed:  # What it left in sqlite's log of changes counts.
        dead = writer.Writer(folder)
        dead.append("late", 1.0, unit(5, seed=70))
        saved = {path.name: path.read_bytes() for path in folder.iterdir()}
        dead.close()
        for name, data in saved.items():
            (folder / name).write_bytes(data)
        (folder / f"{catalogue.FILE}-shm").unlink()
    with without_rights(folder):
        there = opened(folder)
        assert names(there) == [*"0123", *(["late"] if was_killed else [])]
        assert there.index.search(unit(40, seed=2)[:1], 1)[1][0, 0] == 80
        with pytest.raises(writer_lock.Unwritable, match="it is read-only"):
            writer.Writer(folder)
    fill(folder, 1, first=9)


def test_an_interruption_after_the_commit_takes_nothing_back(folder, monkeypatch):
    real = catalogue.Catalogue.change

    @contextlib.contextmanager
    def interrupted(book):
        with real(book):
            yield
        raise KeyboardInterrupt

    with writer.Writer(folder) as writing:
        monkeypatch.setattr(catalogue.Catalogue, "change", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writing.append("0", 1.0, unit(5))
        monkeypatch.setattr(catalogue.Catalogue, "change", real)
        writing.append("1", 1.0, unit(6, seed=1))
    there = opened(folder)
    assert names(there) == ["0", "1"]
    np.testing.assert_allclose(there.rows.read(0, 5), unit(5), atol=1e-3)
