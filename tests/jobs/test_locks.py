"""One process at a time holds a lock, its end sets it free, and the next one is told who holds it."""

import errno
import os
import subprocess
import sys

import pytest

from nafp.jobs import locks

HOLDS = "import sys; from nafp.jobs import locks; lock = locks.take(sys.argv[1]); print('held', flush=True); input()"


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path):
    path = tmp_path / "writer.lock"
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError):
            locks.take(path)
        assert f"process {process.pid} on" in locks.holder(path)
        process.kill()
    with locks.take(path):
        assert f"process {os.getpid()} on" in locks.holder(path)


def test_a_lock_that_was_closed_is_free(tmp_path):
    locks.take(tmp_path / "lock").close()
    locks.take(tmp_path / "lock").close()


@pytest.mark.parametrize("content", ["", "{}", "[]", "17", "no json"])
def test_a_lock_that_nobody_signed_names_nobody(tmp_path, content):
    (tmp_path / "lock").write_text(content)
    assert locks.holder(tmp_path / "lock") == "another process"


def test_a_file_system_without_locks_leaves_no_open_file(tmp_path, monkeypatch):
    def refuse(file, operation):
        refused.append(file)
        raise OSError(errno.ENOLCK, "No locks available")

    refused = []
    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        locks.take(tmp_path / "lock")
    assert refused[0].closed


def test_a_link_is_not_followed_and_its_target_stays(tmp_path):
    (tmp_path / "letter.txt").write_text("dear reader")
    (tmp_path / "writer.lock").symlink_to(tmp_path / "letter.txt")
    with pytest.raises(OSError, match=r"writer\.lock"):
        locks.take(tmp_path / "writer.lock")
    assert (tmp_path / "letter.txt").read_text() == "dear reader"
