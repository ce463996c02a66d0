"""A disk that is full or read-only: a clear error, and a database as it was."""

import contextlib
import os
import resource

import numpy as np
import pytest

from nafp import errors
from nafp.database import catalogue, writer
from tests.databases import create_bare, fill, names, snapped, unit

FULL = "the disk is full|the disk takes no more"  # The latter is how sqlite says it at a limit.


@pytest.fixture
def folder(tmp_path):
    return create_bare(tmp_path / "db")


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
    with full_disk(size + 200_000), pytest.raises(errors.Unwritable, match=FULL):
        add_until_full(folder, added)
    assert len(added) > 5
    assert names(snapped(folder)) == [*(str(n) for n in range(30)), *added]
    fill(folder, 2, first=5000)
    assert names(snapped(folder))[-2:] == ["5000", "5001"]


def compact(folder):
    with writer.Writer(folder, seal_rows=10**9) as writing:
        writing.compact("float32")


def seal(folder):
    writer.Writer(folder, seal_rows=100).close()


@pytest.mark.parametrize("change", [compact, seal])
def test_an_index_or_a_compaction_that_does_not_fit_leaves_all_as_it_was(folder, change):
    fill(folder, 15)
    before = snapped(folder).rows.read(0, 600)
    with full_disk(1000), pytest.raises(errors.Unwritable, match=FULL):
        change(folder)
    assert len(list(folder.glob("fingerprints-*"))) == 1  # No half of one takes up the space that is missing.
    there = snapped(folder)
    np.testing.assert_array_equal(there.rows.read(0, 600), before)
    fill(folder, 20, first=100)
    assert len(names(snapped(folder))) == 35
    assert len(list(folder.glob("*.tmp"))) == 0


def test_a_half_written_row_is_taken_back(folder, monkeypatch):
    fill(folder, 3)
    real = os.pwrite
    with writer.Writer(folder) as writing:

        def full(handle, data, place):
            monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
            return real(handle, bytes(data)[:100], place)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(errors.Unwritable, match=r"ENOSPC.*before is safe; make room"):
            writing.append("3", 1.0, unit(40))
        monkeypatch.setattr(os, "pwrite", real)
        writing.append("4", 1.0, unit(40, seed=4))
    there = snapped(folder)
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
        there = snapped(folder)
        assert names(there) == [*"0123", *(["late"] if was_killed else [])]
        assert there.index.search(unit(40, seed=2)[:1], 1)[1][0, 0] == 80
        with pytest.raises(errors.Unwritable, match="it is read-only"):
            writer.Writer(folder)
    fill(folder, 1, first=9)
