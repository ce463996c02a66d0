"""A database that several threads ask at once, and one that is asked after a fork."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from nafp.database import database
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
