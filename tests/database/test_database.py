"""What a search finds, what a reader sees while others write, and what a writer refuses."""

import contextlib
import os
import sys
import threading

import numpy as np
import pytest

from nafp import errors
from nafp.database import catalogue, index_segments, records, snapshot, writer
from nafp.search import rows
from tests import databases
from tests.databases import SEAL, fill, names, snapped, unit


def test_a_tail_is_searched_exactly(folder):
    fill(folder, 12)
    opened, queries = snapped(folder), unit(7, seed=100)
    scores, near = opened.index.search(queries, 10)
    cosines = queries @ opened.rows.read(0, len(opened.rows)).T
    expected = np.argsort(-cosines, axis=1)[:, :10]
    np.testing.assert_array_equal(near, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, expected, 1), atol=2e-3)


def test_index_files_find_what_a_search_of_all_rows_finds(folder):
    fill(folder, 100)
    opened = snapped(folder)
    assert len(catalogue.Catalogue(folder).segments()) > 3
    rows = np.arange(0, len(opened.rows), 7)
    noisy = opened.rows.take(rows) + 0.3 * unit(len(rows), seed=9)
    _, near = opened.index.search(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), 100)
    assert (near == rows[:, None]).any(axis=1).mean() > 0.98
    assert all(len(set(row)) == len(row) for row in near.tolist())


def test_many_index_files_become_few(folder):
    for number in range(20):
        fill(folder, 17, first=17 * number)
    segments = catalogue.Catalogue(folder).segments()
    assert len(segments) < index_segments.FAN
    assert max(segment.n_rows for segment in segments) >= index_segments.FAN * SEAL
    edges = [(segment.first_row, segment.first_row + segment.n_rows) for segment in segments]
    assert [first for first, _ in edges] == [0, *(end for _, end in edges)][: len(edges)]
    assert sorted(path.name for path in folder.glob("segment-*")) == sorted(segment.file for segment in segments)
    opened = snapped(folder)
    _, near = opened.index.search(unit(1, seed=333)[:1], 5)
    assert opened.rows.tracks[int(opened.rows.track_of(near[:, :1])[0, 0])] == "333"


@pytest.mark.parametrize("n_tracks", [6, 60])
def test_removed_tracks_are_never_found_however_near_they_are(folder, n_tracks):
    fill(folder, n_tracks)
    with writer.DatabaseWriter(folder, seal_rows=SEAL) as writing:
        same = np.repeat(unit(1, seed=77), 300, axis=0)
        writing.append("loop", 1.0, same)
        writing.append("other", 1.0, same[:3])
        assert writing.remove(["loop"]) == 1
    opened = snapped(folder)
    scores, near = opened.index.search(same[:1], 20)
    assert "loop" not in names(opened)
    assert (near >= 0).all()
    assert opened.rows.tracks[int(opened.rows.track_of(near[0, :1])[0])] == "other"
    assert np.isfinite(scores).all()


def test_a_database_may_be_empty_and_become_so(folder):
    opened = snapped(folder)
    assert (opened.index.search(unit(2), 5)[1] == -1).all()
    fill(folder, 3)
    with writer.DatabaseWriter(folder) as writing:
        writing.remove(["0", "1", "2"])
    assert (snapped(folder).index.search(unit(2), 5)[1] == -1).all()
    with writer.DatabaseWriter(folder) as writing:
        writing.compact()
    assert len(snapped(folder).rows) == 0


def test_fewer_rows_than_asked_for_are_filled_up_with_minus_one(folder):
    fill(folder, 1, rows=8)
    scores, near = snapped(folder).index.search(unit(2), 100)
    assert sorted(near[0]) == list(range(8))
    assert scores.shape == near.shape


def test_a_reader_sees_one_moment_whatever_a_writer_does(folder):
    fill(folder, 40)
    before = snapped(folder)
    rows = before.rows.read(0, len(before.rows))
    asked = unit(40, seed=5)[:3]
    answers = before.index.search(asked, 10)
    with writer.DatabaseWriter(folder, seal_rows=SEAL) as writing:
        writing.remove(["3", "4"])
        writing.append("new", 1.0, unit(40, seed=1000))
        assert "new" in names(snapped(folder))  # Acknowledged: others see it at once.
        writing.compact("int8")
    assert names(before) == [str(n) for n in range(40)]
    np.testing.assert_array_equal(before.rows.read(0, len(rows)), rows)
    np.testing.assert_array_equal(before.index.search(asked, 10), answers)
    after = snapped(folder)
    assert names(after) == [*(str(n) for n in range(40) if n not in (3, 4)), "new"]


@pytest.mark.parametrize("mapped_bytes", [0, 2**30])
def test_readers_that_open_while_a_writer_compacts_find_everything(folder, monkeypatch, mapped_bytes):
    monkeypatch.setattr(rows, "MAPPED_BYTES", mapped_bytes)
    fill(folder, 40)
    failed, over = [], threading.Event()

    def write():
        try:
            with writer.DatabaseWriter(folder, seal_rows=SEAL) as writing:
                for number in range(12):
                    writing.append(f"new {number}", 1.0, unit(8, seed=900 + number))
                    writing.compact()
        except BaseException as error:
            failed.append(error)
        over.set()

    thread = threading.Thread(target=write)
    thread.start()
    n_opened = 0
    while not over.is_set() or not n_opened:
        opened = snapped(folder)
        assert opened.troubles == []
        _, near = opened.index.search(unit(40, seed=31)[:2], 5)
        assert [opened.rows.tracks[number] for number in opened.rows.track_of(near[:, 0])] == [
            "31",
            "31",
        ]
        n_opened += 1
    thread.join()
    assert failed == []


def test_one_writer_at_a_time_and_the_second_is_told_who_it_is(folder):
    with writer.DatabaseWriter(folder), pytest.raises(errors.Locked) as refusal:
        writer.DatabaseWriter(folder)
    assert f"process {os.getpid()} on " in str(refusal.value)
    assert "since 20" in str(refusal.value)
    writer.DatabaseWriter(folder).close()


@pytest.mark.parametrize(
    "name, rows, message",
    [
        ("0", unit(5), "of this name"),
        ("new", unit(5, dim=8), r"\[n, 16\]"),
        ("new", unit(0), "n > 0"),
        ("new", 3 * unit(5), "row 0: this vector has length 3"),
        ("new", unit(5) * np.nan, "NaN"),
    ],
)
def test_what_is_no_track_is_refused_and_changes_nothing(folder, name, rows, message):
    fill(folder, 2)
    with writer.DatabaseWriter(folder) as writing:
        with pytest.raises(ValueError, match=message):
            writing.append(name, 1.0, rows)
        writing.append("good", 1.0, unit(4, seed=4))
    opened = snapped(folder)
    assert names(opened) == ["0", "1", "good"]
    assert len(opened.rows) == 84


def add_together(writing, *named):
    with writing.together():
        for seed, name in enumerate(named, 4):
            writing.append(name, 1.0, unit(4, seed=seed))


def test_of_tracks_added_together_all_are_there_or_none(folder):
    fill(folder, 2)
    with writer.DatabaseWriter(folder) as writing:
        with pytest.raises(ValueError, match="of this name"):
            add_together(writing, "a", "1")
        assert names(snapped(folder)) == ["0", "1"]
        add_together(writing, "a", "b")
    opened = snapped(folder)
    assert names(opened) == ["0", "1", "a", "b"]
    np.testing.assert_allclose(opened.rows.read(84, 88), unit(4, seed=5), atol=1e-3)


def test_a_track_takes_the_place_of_one_of_its_name(folder):
    fill(folder, 3)
    with writer.DatabaseWriter(folder) as writing:
        writing.append("1", 2.0, unit(9, seed=50), replace=True)
    book = catalogue.Catalogue(folder)
    assert (book.track("1").n_rows, book.track("1").metadata) == (9, {})
    assert book.counts() == (3, 89, 4.0)


def test_tracks_come_in_pages_and_by_part_of_their_name_or_metadata(tmp_path):
    opened = databases.filled(tmp_path / "db", 12)
    numbers = [[track.id for track in opened.page(after=after, limit=5)] for after in (0, 5, 10, 99)]
    assert numbers == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12], []]
    assert [track.name for track in opened.page(text="C/1")] == ["/music/1.wav", "/music/10.wav", "/music/11.wav"]
    assert [track.metadata["title"] for track in opened.page(text="title 7")] == ["Title 7"]
    assert [opened.page(text=text) for text in ("%", "_", "'", "\\", "nothing")] == [[]] * 5


def test_names_that_are_no_text_are_kept(folder):
    name = os.fsdecode(b"/music/\xff\xe9t\xe9.mp3")
    with writer.DatabaseWriter(folder) as writing:
        writing.append(name, 1.0, unit(5))
        assert writing.catalogue.has_name(name)
    assert names(snapped(folder)) == [name]
    assert catalogue.Catalogue(folder).track(name).name == name


def test_opening_calls_nothing_for_each_track(folder, monkeypatch):
    monkeypatch.setattr(snapshot.Snapshot, "_parts", lambda self: [])  # More rows have more index files.

    def calls() -> int:
        """Counts the calls that an open database needs before its first search."""
        n = 0

        def count(frame, event, argument):
            nonlocal n
            n += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            with catalogue.Catalogue(folder) as book:
                opened = snapshot.Snapshot(folder, book)
        finally:
            sys.setprofile(None)
        assert len(opened.rows.tracks) == opened.n_tracks == book_len
        return n

    book_len = 10
    fill(folder, 10)
    few = calls()
    fill(folder, 90, first=10)
    book_len = 100
    assert calls() - few < 90


def test_tracks_that_do_not_lie_in_the_order_of_their_numbers_are_sorted(folder):
    fill(folder, 10)
    with catalogue.Catalogue(folder, write=True) as book, book.change():
        one, other = book.track("3"), book.track("7")
        book.move([(other.first_row, one.id), (one.first_row, other.id)], [(other.crc, one.id), (one.crc, other.id)])
    with catalogue.Catalogue(folder) as book:
        columns, places = book.columns(), book.places()
        assert columns.first_rows.tolist() == [place[3] for place in places] == sorted(columns.first_rows.tolist())
        assert list(columns.names) == [place[1] for place in places]
        opened = snapshot.Snapshot(folder, book)
        assert [track.name for track in opened.tracks()] == list(columns.names) == opened.rows.tracks
        assert columns.are_in_order()
        assert not records.Columns.of(places[::-1]).are_in_order()


def test_windows_over_the_ends_of_the_log_are_clipped(folder):
    fill(folder, 1)
    rows = snapped(folder).rows
    everything = rows.read(0, 40)
    starts = np.array([-3, 0, 37, 39, 12])
    places = np.clip(starts[:, None] + np.arange(5), 0, 39)
    np.testing.assert_array_equal(rows.windows(starts, 5), everything[places])
    np.testing.assert_array_equal(rows.take(np.array([[1, 2], [39, 0]])), everything[[[1, 2], [39, 0]]])


def test_an_interruption_after_the_commit_takes_nothing_back(folder, monkeypatch):
    real = catalogue.Catalogue.change

    @contextlib.contextmanager
    def interrupted(book):
        with real(book):
            yield
        raise KeyboardInterrupt

    with writer.DatabaseWriter(folder) as writing:
        monkeypatch.setattr(catalogue.Catalogue, "change", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writing.append("0", 1.0, unit(5))
        monkeypatch.setattr(catalogue.Catalogue, "change", real)
        writing.append("1", 1.0, unit(6, seed=1))
    opened = snapped(folder)
    assert names(opened) == ["0", "1"]
    np.testing.assert_allclose(opened.rows.read(0, 5), unit(5), atol=1e-3)
