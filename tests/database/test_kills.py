"""A writer killed at any moment loses nothing that it acknowledged, and leaves nothing half done."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from nafp.database import catalogue, snapshot
from tests import killed_writer


class Victim:
    """The writer of `tests.killed_writer`; `lives` are over one after the other."""

    def __init__(self, folder):
        command = [sys.executable, "-m", "tests.killed_writer", str(folder)]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        pipes["stderr"] = subprocess.DEVNULL  # faiss finds so few rows too few.
        self._process = subprocess.Popen(command, env=environment, **pipes)

    def live(self, seed, *, step=0, lines=0, then_s=0.0):
        """One life: returns what was acknowledged, and whether it ended before it was killed.

        step: at which it kills itself; else it is killed then_s after so many lines.
        """
        print(seed, step, file=self._process.stdin, flush=True)
        child = int(self._line().split()[1])
        said = []
        while (line := self._line()) != "dead":
            if line:
                said.append(line)
            if not step and len(said) == lines:
                time.sleep(then_s)
                os.kill(child, signal.SIGKILL)
                lines = -1
        return said, "done" in said

    def _line(self):
        line = self._process.stdout.readline()
        assert line, "the writer ended by itself"
        return line.rstrip("\n")

    def end(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait() == 0


@pytest.fixture
def folder():
    # In memory where that is possible: a kill takes nothing from either, and waiting for a disk takes minutes.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        killed_writer.create(os.path.join(place, "db"))
        yield pathlib.Path(place) / "db"


@pytest.fixture
def victim(folder):
    one = Victim(folder)
    yield one
    one.end()


class Ledger:
    """What a database must hold, by what was acknowledged, and what may have happened, being begun."""

    def __init__(self):
        self.there, self.begun = set(), {}

    def note(self, said):
        self.begun = {}
        for line in said:
            what, _, name = line.partition(" ")
            if what in ("adding", "removing"):
                self.begun[name] = what
            elif what == "added":
                self.there.add(name)
                del self.begun[name]
            elif what == "removed":
                self.there.remove(name)
                del self.begun[name]

    def check(self, folder):
        """Holds the database to it: what was begun happened, all of it, or did not."""
        book = catalogue.Catalogue(folder)
        opened = snapshot.Snapshot(folder, book)
        assert opened.troubles == []
        assert book.complaint() == ""
        tracks = {track.name: track for track in book.tracks()}
        happened = self.there ^ set(tracks)
        assert happened in (set(), set(self.begun)), f"{happened} differ, {self.begun} was begun"
        firsts = [check_whole(opened, track) for track in tracks.values()]
        if firsts:  # Every track answers to its first fingerprint.
            asked = np.stack([killed_writer.vectors(name)[0] for name in tracks])
            _, near = opened.index.search(asked, 20)
            assert (near == np.array(firsts)[:, None]).any(axis=1).all()
        book.close()
        self.there = set(tracks)


def check_whole(opened, track):
    """Holds a track to what its name says it has; returns its first row."""
    rows = opened.rows.read(track.first_row, track.first_row + track.n_rows)
    np.testing.assert_allclose(rows, killed_writer.vectors(track.name), atol=1e-3)
    assert opened.rows.tracks[int(opened.rows.track_of(np.array(track.first_row)))] == track.name
    assert track.metadata in ({}, {"title": f"Title of {track.name}"})
    return track.first_row


def test_a_writer_killed_at_every_step_to_the_disk_leaves_a_whole_database(folder, victim):
    ledger, deaths = Ledger(), 0
    for step in range(1, 200):
        said, ended = victim.live(step, step=step)
        ledger.note(said)
        ledger.check(folder)
        deaths += not ended
        if deaths >= 45:
            break
    assert deaths >= 30


def test_a_writer_killed_at_random_moments_leaves_a_whole_database(folder, victim):
    draw, ledger, apart_s = random.Random(0), Ledger(), 0.0
    for life in range(25):
        lines, began = draw.randrange(1, 8), time.monotonic()
        # Some moment between this acknowledgement and the next few, however fast the machine is.
        said, ended = victim.live(1000 + life, lines=lines, then_s=draw.uniform(0, 3) * apart_s)
        apart_s = (time.monotonic() - began) / (len(said) + 1)
        assert not ended
        assert len(said) >= lines
        ledger.note(said)
        ledger.check(folder)
    assert ledger.there


def test_the_next_writer_removes_what_a_killed_one_left(folder, victim):
    for step in range(1, 40, 3):
        victim.live(step, step=step)
    killed_writer.live(str(folder), 5000, lambda text: None, 3)
    book = catalogue.Catalogue(folder)
    named = {segment.file for segment in book.segments()}
    there = {path.name for path in folder.glob("segment-*")}
    assert there == named
    assert len(list(folder.glob("fingerprints-*.log"))) == 1
    size = book.about()["n_rows"] * killed_writer.DIM * 2
    assert next(folder.glob("fingerprints-*.log")).stat().st_size == size
    book.close()
