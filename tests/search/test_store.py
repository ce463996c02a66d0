"""A store keeps the layout of the original. No kill loses an appended track, and no writer a finished store."""

import contextlib
import csv
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from nafp import errors
from nafp.search import store
from tests import disks

META = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": 8000, "model": "a1b2"}


def vectors(n_rows, *, dim=4, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(folder, name="db", *, lengths=(3, 0, 5), meta=META, **settings):
    with store.Writer(folder, name, dim=4, meta=meta, **settings) as writer:
        for number, n_rows in enumerate(lengths):
            if f"track {number}" not in writer.done:
                writer.append(f"track {number}", n_rows / 2 + 0.5, vectors(n_rows, seed=number))
        return writer.finish()


def test_what_was_written_is_read(tmp_path):
    opened = write(tmp_path)
    np.testing.assert_array_equal(opened.vectors[:3], vectors(3, seed=0))
    np.testing.assert_array_equal(opened.vectors[3:], vectors(5, seed=2))
    assert opened.tracks[2] == store.TrackRows("track 2", 3, 5, 3.0)
    assert (opened.hop_s, opened.dim, len(opened)) == (0.5, 4, 8)
    assert opened.meta["model"] == "a1b2"
    assert store.names(tmp_path) == ["db"]


def test_the_original_reads_our_layout(tmp_path):
    write(tmp_path)
    shape = np.load(tmp_path / "db_shape.npy")
    theirs = np.memmap(tmp_path / "db.mm", dtype="float32", mode="r", shape=(shape[0], shape[1]))
    np.testing.assert_array_equal(theirs[:3], vectors(3, seed=0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "db.json",
        "db.mm",
        "db_shape.npy",
        "db_tracks.csv",
    ]


def test_we_read_the_layout_of_the_original(tmp_path):
    rows = vectors(7)
    mapped = np.memmap(tmp_path / "query.mm", dtype="float32", mode="w+", shape=rows.shape)
    mapped[:] = rows
    mapped.flush()
    np.save(tmp_path / "query_shape.npy", rows.shape)
    bare = store.Store.open(tmp_path, "query")
    np.testing.assert_array_equal(bare.vectors, rows)
    assert bare.tracks == []
    assert bare.hop_s == 0.5


def test_odd_track_names_survive(tmp_path):
    odd = ['a,b "c".wav', "line\nbreak.mp3", "Ääni ♫.ogg", os.fsdecode(b"latin-1 \xe4.wav")]
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        for name in odd:
            writer.append(name, 1.0, vectors(1))
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        assert writer.done == set(odd)
        opened = writer.finish()
    assert [track.track for track in opened.tracks] == odd


def test_an_empty_store_can_be_finished(tmp_path):
    opened = write(tmp_path, lengths=())
    assert opened.vectors.shape == (0, 4)
    assert opened.tracks == []


@pytest.mark.parametrize("torn", [b"", b'["track 9", 8, 2', b'["track 9", 8, 2, 1.5]'])
def test_a_torn_last_append_is_forgotten(tmp_path, torn):
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        writer.append("track 0", 2.0, vectors(3, seed=0))
    with open(tmp_path / "db.mm.part", "ab") as rows:
        rows.write(b"\0" * 37)
    with open(tmp_path / "db.journal", "ab") as journal:
        journal.write(torn)
    with pytest.raises(FileNotFoundError, match="unfinished"):
        store.Store.open(tmp_path, "db")
    opened = write(tmp_path)
    np.testing.assert_array_equal(opened.vectors, np.concatenate([vectors(3), vectors(5, seed=2)]))


def test_a_killed_writer_resumes_to_the_same_bytes(tmp_path):
    expected = write(tmp_path / "whole", lengths=(2,) * 40)
    command = f"""
        import os, signal, sys
        sys.path.insert(0, {os.getcwd()!r})
        from tests.search import test_store
        real = os.fsync
        left = int(sys.argv[1])
        def fsync(handle):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(handle)
        test_store.store.os.fsync = fsync
        test_store.write({str(tmp_path / "killed")!r}, lengths=(2,) * 40)
    """
    rounds = 0
    while True:
        rounds += 1
        line = [sys.executable, "-c", textwrap.dedent(command), str(23 + rounds)]
        if subprocess.run(line).returncode != -signal.SIGKILL:
            break
    assert rounds > 2
    for suffix in (".mm", "_tracks.csv", "_shape.npy", ".json"):
        resumed = (tmp_path / "killed" / f"db{suffix}").read_bytes()
        assert resumed == (expected.folder / f"db{suffix}").read_bytes()


@pytest.mark.parametrize("stop_at", range(1, 5))
def test_a_kill_inside_finish_loses_nothing(tmp_path, monkeypatch, stop_at):
    class Killed(BaseException):
        pass

    done = []
    real = os.replace

    def replace(source, target):
        done.append(target)
        if len(done) == stop_at:
            raise Killed
        real(source, target)

    monkeypatch.setattr(store.os, "replace", replace)
    with pytest.raises(Killed):
        write(tmp_path)
    monkeypatch.undo()
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        assert writer.done == {"track 0", "track 1", "track 2"}
        opened = writer.finish()
    np.testing.assert_array_equal(opened.vectors[3:], vectors(5, seed=2))


def test_a_finished_store_is_not_overwritten_unless_told(tmp_path):
    write(tmp_path)
    with pytest.raises(FileExistsError, match="overwrite"):
        store.Writer(tmp_path, "db", dim=4, meta=META)
    with store.Writer(tmp_path, "db", dim=4, meta=META, overwrite=True) as writer:
        assert writer.done == set()
        writer.append("new", 1.0, vectors(1, seed=9))
        assert len(store.Store.open(tmp_path, "db")) == 8  # The old one, until the new is whole.
    with store.Writer(tmp_path, "db", dim=4, meta=META, overwrite=True) as writer:
        assert writer.done == {"new"}
        writer.finish()
    assert [track.track for track in store.Store.open(tmp_path, "db").tracks] == ["new"]


def test_a_bare_store_is_kept_until_its_replacement_is_whole(tmp_path):
    vectors(7).tofile(tmp_path / "db.mm")
    np.save(tmp_path / "db_shape.npy", (7, 4))
    with pytest.raises(FileExistsError, match="overwrite"):
        store.Writer(tmp_path, "db", dim=4, meta=META)
    with store.Writer(tmp_path, "db", dim=4, meta=META, overwrite=True) as writer:
        writer.append("new", 1.0, vectors(1))
        assert (tmp_path / "db.mm").stat().st_size == 7 * 4 * 4
        assert len(writer.finish()) == 1


def test_an_unfinished_store_of_another_model_is_not_continued(tmp_path):
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        writer.append("track 0", 2.0, vectors(3))
    other = {**META, "model": "c3d4"}
    with pytest.raises(ValueError, match=r"model: 'a1b2' then, 'c3d4' now"):
        store.Writer(tmp_path, "db", dim=4, meta=other)
    with store.Writer(tmp_path, "db", dim=4, meta=other, overwrite=True) as writer:
        assert writer.done == set()


def test_two_writers_do_not_share_a_store(tmp_path):
    with (
        store.Writer(tmp_path, "db", dim=4, meta=META),
        pytest.raises(FileExistsError, match="another process"),
    ):
        store.Writer(tmp_path, "db", dim=4, meta=META)


def test_what_cannot_be_a_fingerprint_is_refused_by_track_name(tmp_path):
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        with pytest.raises(ValueError, match=r"odd.wav.*\[n, 4\]"):
            writer.append("odd.wav", 1.0, vectors(2, dim=5))
        with pytest.raises(ValueError, match=r"odd.wav.*NaN"):
            writer.append("odd.wav", 1.0, np.full((2, 4), np.nan))
        writer.append("odd.wav", 1.0, vectors(1))
        with pytest.raises(ValueError, match=r"odd.wav.*already"):
            writer.append("odd.wav", 1.0, vectors(1))
        assert len(writer.finish()) == 1


def test_a_full_disk_is_an_error_of_ours_and_added_tracks_stay(tmp_path):
    def add(writer, names):
        for name in names:
            writer.append(name, 1.0, vectors(200, seed=len(name)))

    with disks.full(tmp_path / "small", n_bytes=2**16) as folder:
        with store.Writer(folder, "db", dim=4, meta=META) as writer:
            with pytest.raises(errors.Unwritable, match="db: the disk is full; the tracks written before are safe"):
                add(writer, (str(number) for number in range(100)))
            n_tracks = len(writer.tracks)
            assert 5 < n_tracks < 30
            assert (folder / "db.mm.part").stat().st_size == n_tracks * 200 * 4 * 4
            writer.append("short", 1.0, vectors(1, seed=7))  # Fits into what is left.
        with store.Writer(folder, "db", dim=4, meta=META) as writer:
            assert writer.done == {*(str(number) for number in range(n_tracks)), "short"}
            np.testing.assert_array_equal(
                np.fromfile(folder / "db.mm.part", np.float32).reshape(-1, 4)[-201:],
                np.concatenate([vectors(200, seed=len(str(n_tracks - 1))), vectors(1, seed=7)]),
            )


def test_a_read_only_folder_is_an_error_of_ours(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(store, "open", refuse, raising=False)  # Root may write anywhere: this stands in for a disk.
    with pytest.raises(errors.Unwritable, match=r"db: it is read-only; .* write to another folder"):
        store.Writer(tmp_path, "db", dim=4, meta=META)


def test_rows_whose_journal_is_refused_are_taken_back(tmp_path, monkeypatch):
    real = store._append
    with store.Writer(tmp_path, "db", dim=4, meta=META) as writer:
        writer.append("0", 2.0, vectors(3))

        def refuse_journal(file, data, *, at=None):
            if at is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(file, data, at=at)

        monkeypatch.setattr(store, "_append", refuse_journal)
        with pytest.raises(errors.Unwritable, match="the disk is full"):
            writer.append("1", 5.0, vectors(9, seed=1))
        monkeypatch.undo()
        writer.append("2", 1.0, vectors(2, seed=2))
        opened = writer.finish()
    assert [track.track for track in opened.tracks] == ["0", "2"]
    np.testing.assert_array_equal(opened.vectors[3:], vectors(2, seed=2))


def test_files_that_disagree_are_named(tmp_path):
    write(tmp_path)
    np.save(tmp_path / "db_shape.npy", (9, 4))
    with pytest.raises(ValueError, match=r"128 bytes.*9 rows"):
        store.Store.open(tmp_path, "db")
    np.save(tmp_path / "db_shape.npy", (8, 4))
    with open(tmp_path / "db_tracks.csv", "a") as table:
        csv.writer(table).writerow(["extra", 8, 1, 1.0])
    with pytest.raises(ValueError, match=r"accounts for 9 rows"):
        store.Store.open(tmp_path, "db")


def test_a_missing_store_says_what_there_is(tmp_path):
    write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no store 'query'.*it has: db"):
        store.Store.open(tmp_path, "query")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        store.Store.open(tmp_path / "nowhere", "db")


def test_the_store_needs_neither_jax_nor_faiss():
    code = "import sys, nafp.search.store; print('jax' in sys.modules or 'faiss' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_metadata_is_readable_by_hand(tmp_path):
    write(tmp_path)
    meta = json.loads((tmp_path / "db.json").read_text())
    assert meta == {"format": 1, "rows": 8, "dim": 4, **META}


def test_a_changed_byte_of_a_small_file_is_no_traceback(tmp_path):
    write(tmp_path)
    for name in ("db.json", "db_shape.npy", "db_tracks.csv"):
        path = tmp_path / name
        whole = path.read_bytes()
        for place in range(len(whole)):
            for value in (whole[place] ^ 1, 0):
                path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
                with contextlib.suppress(errors.Error):
                    opened = store.Store.open(tmp_path, "db")
                    assert len(opened) == 8
                    assert opened.hop_s > 0
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["db.mm", "db.json", "db_shape.npy", "db_tracks.csv", "db.journal", "db.mm.part"])
def test_a_store_is_neither_read_from_a_pipe_nor_written_through_a_link(tmp_path, name):
    write(tmp_path / "store")
    path, precious = tmp_path / "store" / name, tmp_path / "precious"
    precious.write_bytes(b"precious")
    path.unlink(missing_ok=True)
    path.symlink_to(precious)
    with pytest.raises(errors.Invalid, match="is a symbolic link"):
        store.Writer(tmp_path / "store", "db", dim=4, meta=META, overwrite=True)
    assert precious.read_bytes() == b"precious"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(errors.Invalid, match="is no plain file"):
        store.Store.open(tmp_path / "store", "db")
