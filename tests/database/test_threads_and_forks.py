"""A database that several threads ask at once, and one that is asked after a fork."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nafp.database import catalogue, database
from tests import databases


def test_eight_threads_open_search_and_list_at_once(memory):
    databases.filled(memory / "db", 40, seal_rows=640).close()
    for _ in range(3):
        with database.Database.open(memory / "db") as opened:
            start, wrong = threading.Barrier(8), []

            def ask(number, opened=opened, start=start, wrong=wrong):
                start.wait()
                try:
                    _, near = opened.index.search(databases.unit(40, seed=number)[:5], 3)
                    track = opened.rows.tracks[int(opened.rows.track_of(near[:, 0])[0])]
                    assert track == f"/music/{number}.wav"
                    assert opened.track(track).metadata == {"title": f"Title {number}"}
                    assert len(list(opened.tracks())) == len(opened) == 40
                    opened.refresh()
                except Exception as error:
                    wrong.append(error)

            threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert wrong == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")
def test_a_search_after_a_fork_ends(memory, monkeypatch):
    monkeypatch.delenv("NAFP_THREADS", raising=False)
    databases.filled(memory / "db", 40, seal_rows=640).close()
    opened = database.Database.open(memory / "db")
    queries = np.concatenate([databases.unit(40, seed=number) for number in range(5)])
    _, expected = opened.index.search(queries, 3)  # The pools of the parent have begun.
    child = os.fork()
    if not child:
        _, near = opened.index.search(queries, 3)
        is_right = np.array_equal(near, expected) and len(list(opened.tracks())) == 40
        os._exit(0 if is_right else 3)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the search hangs")
    assert len(opened) == 40


def test_what_one_process_has_open_twice_is_not_taken_apart_by_another(memory):
    """A process that opened the file of the catalogue itself would lose all its locks when it closes it."""
    databases.filled(memory / "db", 3).close()
    log = memory / "db" / f"{catalogue.FILE}-wal"
    with database.Database.open(memory / "db") as first, database.Database.open(memory / "db") as second:
        file = log.stat().st_ino
        code = f"import sqlite3; c = sqlite3.connect({str(memory / 'db' / catalogue.FILE)!r}); print(*c.execute('select"
        subprocess.run([sys.executable, "-c", f"{code} * from about')); c.close()"], check=True, capture_output=True)
        assert log.stat().st_ino == file  # The last to leave removes it.
        first.remove(["/music/1.wav"])
        assert [track.name for track in second.tracks()] == ["/music/0.wav", "/music/2.wav"]


def test_only_sqlite_opens_the_file_of_a_catalogue(memory):
    opened, is_watched = [], [True]

    def watch(event: str, values: tuple) -> None:  # Of Python's own files. Those of sqlite are not told.
        if event == "open" and is_watched[0] and str(values[0]).endswith(catalogue.FILE):
            opened.append(values[0])

    databases.filled(memory / "db", 3).close()
    databases.filled(memory / "other", 2, first=3).close()
    sys.addaudithook(watch)
    with database.Database.open(memory / "db") as one:
        one.remove(["/music/1.wav"])
        one.merge([memory / "other"])
        one.repair(one.verify())
        one.compact()
        one.info()
    with database.Database.open(memory / "db") as again:
        assert len(again) == 4
    is_watched[0] = False  # A hook cannot be taken away.
    assert opened == []
