"""A file is there whole, or what was there before is."""

import errno
import os
import pathlib
import stat
import subprocess

import pytest

from nafp import errors
from nafp.jobs import whole_files


def test_a_file_takes_its_place_when_the_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with whole_files.opened(path) as file:
        file.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def interrupted(path):
    with whole_files.opened(path, "wb") as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_an_error_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_copy_has_the_bytes_of_its_source(tmp_path):
    (tmp_path / "source").write_bytes(bytes(range(256)) * 1000)
    whole_files.copied(tmp_path / "source", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_rename_is_synced_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(whole_files, "sync_folder", synced.append)
    with whole_files.opened(tmp_path / "table.csv") as file:
        file.write("x")
    assert synced == [str(tmp_path)]


def test_a_stream_of_the_system_is_written_and_never_replaced(monkeypatch):
    def never(part, path):
        raise AssertionError(f"{path} replaced")

    monkeypatch.setattr(os, "replace", never)
    with whole_files.opened("/dev/null", "wb") as file:
        file.write(b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    reading, writing = os.pipe()
    with whole_files.opened(f"/dev/fd/{writing}") as file:
        file.write("line\n")
    assert os.read(reading, 10) == b"line\n"
    for handle in (reading, writing):
        os.close(handle)


def test_a_network_disk_that_syncs_no_folder_takes_the_file_all_the_same(tmp_path, monkeypatch):
    def sync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", sync)
    with whole_files.opened(tmp_path / "table.csv") as file:
        file.write("x")
    assert (tmp_path / "table.csv").read_text() == "x"


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_called_full_and_keeps_what_was_there(small_disk):
    path = small_disk / "table.csv"
    path.write_text("old")
    refusal = pytest.raises(errors.Unwritable, match=r"table\.csv: cannot be written: the disk is full")
    with refusal, whole_files.opened(path, "wb") as file:
        file.write(bytes(10**6))
    assert path.read_text() == "old"
    assert list(small_disk.iterdir()) == [path]


@pytest.mark.parametrize(
    "code, words",
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "it is read-only"), (errno.EIO, "the disk is full or failing")],
)
def test_a_refusal_is_put_into_words(code, words):
    assert whole_files.reason(OSError(code, os.strerror(code))) == words


def test_an_error_of_the_block_that_is_no_disk_error_passes_through(tmp_path):
    with pytest.raises(FileNotFoundError), whole_files.opened(tmp_path / "x"):
        pathlib.Path(tmp_path / "nothing here").read_text()


def test_another_file_that_cannot_be_read_is_not_blamed_on_the_one_being_written(tmp_path):
    forbidden = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/another/file")
    with pytest.raises(PermissionError), whole_files.opened(tmp_path / "x"):
        raise forbidden


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    for name in ("table.csv", "table.csv.123.part", "my.part", "table.csv.123.part.gz"):
        (tmp_path / name).write_text("x")
    whole_files.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.part", "table.csv", "table.csv.123.part.gz"]
