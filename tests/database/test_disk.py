"""A disk that is full or read-only: a clear error, and a database as it was."""

import contextlib
import errno
import os
import pathlib
import resource
import sqlite3
import subprocess

import numpy as np
import pytest

from nafp import errors
from nafp.database import catalogue, database, fingerprint_log, writer, writer_lock
from nafp.jobs import whole_files
from nafp.search import index
from tests import databases
from tests.databases import create_bare, fill, names, snapped, unit

FULL = "the disk is full"  # sqlite reports a limit of the file size as "full or failing".


@pytest.fixture
def folder(tmp_path):
    return create_bare(tmp_path / "db")


@contextlib.contextmanager
def full_disk(n_bytes):
    """Within the block no file can grow beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def add_until_full(folder, added):
    with writer.DatabaseWriter(folder, seal_rows=10**9) as writing:
        for number in range(30, 3000):
            writing.append(str(number), 1.0, unit(40, seed=number))
            added.append(str(number))


def test_a_full_disk_is_a_clear_error_and_what_was_added_stays(folder):
    fill(folder, 30)
    size = max(path.stat().st_size for path in folder.iterdir())
    added: list[str] = []
    with full_disk(size + 200_000), pytest.raises(errors.Unwritable, match=FULL):
        add_until_full(folder, added)
    assert len(added) > 5
    assert names(snapped(folder)) == [*(str(n) for n in range(30)), *added]
    fill(folder, 2, first=5000)
    assert names(snapped(folder))[-2:] == ["5000", "5001"]


def compact(folder):
    with writer.DatabaseWriter(folder, seal_rows=10**9) as writing:
        writing.compact("float32")


def seal(folder):
    writer.DatabaseWriter(folder, seal_rows=100).close()


@pytest.mark.parametrize("change", [compact, seal])
def test_an_index_or_a_compaction_that_does_not_fit_leaves_all_as_it_was(folder, change):
    fill(folder, 15)
    before = snapped(folder).rows.read(0, 600)
    with full_disk(1000), pytest.raises(errors.Unwritable, match=FULL):
        change(folder)
    assert len(list(folder.glob("fingerprints-*"))) == 1  # No half of one takes up the space that is missing.
    opened = snapped(folder)
    np.testing.assert_array_equal(opened.rows.read(0, 600), before)
    fill(folder, 20, first=100)
    assert len(names(snapped(folder))) == 35
    assert not [path for path in folder.iterdir() if path.suffix in (".tmp", ".part", ".new")]


def test_a_half_written_row_is_taken_back(folder, monkeypatch):
    fill(folder, 3)
    real = os.pwrite
    with writer.DatabaseWriter(folder) as writing:

        def full(handle, data, place):
            monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
            return real(handle, bytes(data)[:100], place)  # Half of it is written.

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(errors.Unwritable, match=r"ENOSPC.*before is safe; make room"):
            writing.append("3", 1.0, unit(40))
        monkeypatch.setattr(os, "pwrite", real)
        writing.append("4", 1.0, unit(40, seed=4))
    opened = snapped(folder)
    assert names(opened) == ["0", "1", "2", "4"]
    np.testing.assert_allclose(opened.rows.read(120, 160), unit(40, seed=4), atol=1e-3)


@contextlib.contextmanager
def without_rights(folder):
    """Within the block this process may only read the folder, even if root runs the tests."""
    above = [
        folder,
        *(path for path in folder.parents if path.stat().st_uid == os.geteuid() and "pytest-" in str(path)),
    ]
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
        dead = writer.DatabaseWriter(folder)
        dead.append("late", 1.0, unit(5, seed=70))
        saved = {path.name: path.read_bytes() for path in folder.iterdir()}
        dead.close()
        for name, data in saved.items():
            (folder / name).write_bytes(data)
        (folder / f"{catalogue.FILE}-shm").unlink()
    with without_rights(folder):
        opened = snapped(folder)
        assert names(opened) == [*"0123", *(["late"] if was_killed else [])]
        assert opened.index.search(unit(40, seed=2)[:1], 1)[1][0, 0] == 80
        with pytest.raises(errors.Unwritable, match="it is read-only"):
            writer.DatabaseWriter(folder)
    fill(folder, 1, first=9)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def leave(disk: pathlib.Path, n_bytes: int) -> None:
    """Fills a disk up to this many bytes."""
    free = os.statvfs(disk)
    with open(disk / "ballast", "wb") as ballast:
        ballast.write(bytes(free.f_bavail * free.f_frsize - n_bytes))


def failures_of(monkeypatch, owner, name):
    """Records the errors that a function raises, so that a test can tell that it was this call that failed."""
    real, raised = getattr(owner, name), []

    def recorded(*args, **settings):
        try:
            return real(*args, **settings)
        except BaseException as error:
            raised.append(error)
            raise

    monkeypatch.setattr(owner, name, recorded)
    return raised


def refused(small_disk, folder, action):
    """Checks that an action on a full disk raises a clear error and leaves nothing half done. Returns its cause."""
    before = {path.name for path in folder.iterdir()} if folder.exists() else set()
    with pytest.raises(
        errors.Unwritable, match=rf"{folder}: cannot be written: {FULL} \(ENOSPC\).*make room"
    ) as refusal:
        action()
    assert len(str(refusal.value).splitlines()) == 1
    assert "faiss" not in str(refusal.value)
    assert {path.name for path in folder.iterdir()} - before <= {writer_lock.NAME}
    (small_disk / "ballast").unlink()
    return refusal.value.__cause__


def is_full(error):
    """Returns whether an error says that a disk is full, in the words of the system or of sqlite."""
    if isinstance(error, errors.Unwritable):
        error = error.__cause__
    if isinstance(error, sqlite3.Error):
        return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def test_a_log_that_fills_the_disk_is_said_so(small_disk, monkeypatch):
    folder = create_bare(small_disk / "db")
    fill(folder, 3)
    raised = failures_of(monkeypatch, fingerprint_log.Log, "append")
    with writer.DatabaseWriter(folder) as writing:
        leave(small_disk, 8192)
        refused(small_disk, folder, lambda: writing.append("3", 1.0, unit(2000)))
        writing.append("4", 1.0, unit(2000, seed=4))
    assert [is_full(error) for error in raised] == [True]
    assert names(snapped(folder)) == ["0", "1", "2", "4"]


def test_a_catalogue_that_fills_the_disk_is_said_so(small_disk):
    folder = create_bare(small_disk / "db")
    fill(folder, 3)
    with writer.DatabaseWriter(folder) as writing:
        leave(small_disk, 8192)
        cause = refused(small_disk, folder, lambda: writing.describe("0", {"title": "x" * 100_000}))
        writing.describe("1", {"title": "short"})
    assert isinstance(cause, sqlite3.Error)
    assert is_full(cause)
    titles = [track.metadata["title"] for track in catalogue.Catalogue(folder).tracks()]
    assert titles == ["T0", "short", "T2"]


@pytest.mark.parametrize("room", [0, 4096])
def test_an_index_that_fills_the_disk_is_said_so(small_disk, monkeypatch, room):
    folder = create_bare(small_disk / "db")
    fill(folder, 50, seal_rows=10**9)
    raised = failures_of(monkeypatch, index.Index, "save")
    writing = writer.DatabaseWriter(folder, seal_rows=2000)
    leave(small_disk, room)
    refused(small_disk, folder, writing.close)
    assert [is_full(error) for error in raised] == [True]
    assert len(catalogue.Catalogue(folder).segments()) == 0
    writer.DatabaseWriter(folder, seal_rows=2000).close()
    assert len(catalogue.Catalogue(folder).segments()) == 1
    assert snapped(folder).troubles == []


def test_a_copy_of_the_catalogue_that_fills_the_disk_is_said_so(small_disk, monkeypatch):
    folder = create_bare(small_disk / "db")
    fill(folder, 3)
    raised = failures_of(monkeypatch, catalogue.Catalogue, "copy")
    writing = writer.DatabaseWriter(folder)
    copy = (folder / catalogue.COPY).read_bytes()
    leave(small_disk, 4096)
    refused(small_disk, folder, writing.close)
    assert [is_full(error) for error in raised] == [True]
    assert (folder / catalogue.COPY).read_bytes() == copy


@pytest.mark.parametrize("what", ["network", "calibration", "catalogue"])
def test_a_creation_that_fills_the_disk_is_said_so_and_can_be_done_again(small_disk, tmp_path, monkeypatch, what):
    network, folder = databases.network_file(tmp_path), small_disk / "db"
    size = os.path.getsize(network)
    calibration = pathlib.Path(network).with_suffix(".confidence.json")
    calibration.write_text(" " * 200_000 + "{}")
    call = (catalogue.Catalogue, "create") if what == "catalogue" else (whole_files, "copied")
    raised = failures_of(monkeypatch, *call)
    folder.mkdir()
    leave(small_disk, {"network": size // 2, "calibration": size + 50_000, "catalogue": size + 225_000}[what])
    refused(small_disk, folder, lambda: database.Database.create(folder, network=network))
    assert [is_full(error) for error in raised] == [True]
    with database.Database.create(folder, network=network) as opened:
        assert opened.verify().damages == []
