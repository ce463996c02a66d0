"""A writer or a creation killed at any moment loses nothing acknowledged, and leaves nothing half done."""

import random
import time

import numpy as np
import pytest

from nafp.database import catalogue, database, network_file, snapshot, writer_lock
from tests import databases, killed_writer, victims


@pytest.fixture
def victim(folder):
    process = victims.Victim("tests.killed_writer", folder)
    yield process
    process.end()


class Ledger:
    """What a database must hold by what was acknowledged, and what may have happened because it was begun."""

    def __init__(self):
        self.names, self.begun = set(), {}

    def note(self, answers):
        self.begun = {}
        for line in answers:
            what, _, name = line.partition(" ")
            if what in ("adding", "removing"):
                self.begun[name] = what
            elif what == "added":
                self.names.add(name)
                del self.begun[name]
            elif what == "removed":
                self.names.remove(name)
                del self.begun[name]

    def check(self, folder):
        """Checks the database against the ledger: what was begun happened completely or not at all."""
        book = catalogue.Catalogue(folder)
        opened = snapshot.Snapshot(folder, book)
        assert opened.troubles == []
        assert book.complaint() == ""
        tracks = {track.name: track for track in book.tracks()}
        happened = self.names ^ set(tracks)
        assert happened in (set(), set(self.begun)), f"{happened} differ, {self.begun} was begun"
        check_whole(opened, list(tracks.values()))
        book.close()
        self.names = set(tracks)


def check_whole(opened, tracks):
    """Checks that tracks hold what their names say, and that each answers to its first fingerprint."""
    if not tracks:
        return
    expected = [killed_writer.vectors(track.name) for track in tracks]
    rows = [opened.rows.read(track.first_row, track.first_row + track.n_rows) for track in tracks]
    assert [len(block) for block in rows] == [len(block) for block in expected]
    np.testing.assert_allclose(np.concatenate(rows), np.concatenate(expected), atol=1e-3)
    if opened.rows.peak_bytes:
        kept = [opened.rows.peaks(track.first_row, track.first_row + track.n_rows) for track in tracks]
        np.testing.assert_array_equal(
            np.concatenate(kept), np.concatenate([killed_writer.peaks(t.name) for t in tracks])
        )
    first_rows = np.array([track.first_row for track in tracks])
    assert [opened.rows.tracks[number] for number in opened.rows.track_of(first_rows)] == [t.name for t in tracks]
    assert all(track.metadata in ({}, {"title": f"Title of {track.name}"}) for track in tracks)
    _, near = opened.index.search(np.stack([block[0] for block in expected]), 20)
    assert (near == first_rows[:, None]).any(axis=1).all()


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_writer_killed_at_every_step_to_the_disk_leaves_a_whole_database(folder, victim, every):
    ledger, deaths = Ledger(), 0
    for step in range(1, 200, every):
        answers, ended = victim.live(step, step=step)
        ledger.note(answers)
        ledger.check(folder)
        deaths += not ended
        if deaths >= 45 // every:
            break
    assert deaths >= 30 // every


@pytest.mark.parametrize("folder", [True], indirect=True, ids=["with peaks"])
@pytest.mark.parametrize("lives", [8, pytest.param(25, marks=pytest.mark.slow)])
def test_a_writer_killed_at_random_moments_leaves_a_whole_database(folder, victim, lives):
    draw, ledger, apart_s = random.Random(0), Ledger(), 0.0
    for life in range(lives):
        lines, began = draw.randrange(1, 8), time.monotonic()
        # Some moment between this acknowledgement and the next few, however fast the machine is.
        answers, ended = victim.live(1000 + life, lines=lines, then_s=draw.uniform(0, 3) * apart_s)
        apart_s = (time.monotonic() - began) / (len(answers) + 1)
        assert not ended
        assert len(answers) >= lines
        ledger.note(answers)
        ledger.check(folder)
    assert ledger.names


def test_the_next_writer_removes_what_a_killed_one_left(folder, victim):
    for step in range(1, 40, 3):
        victim.live(step, step=step)
    assert not victim.live(1000, step="segment-")[1]
    assert len(list(folder.glob("segment-*.part"))) == 1
    killed_writer.live(str(folder), 5000, lambda text: None, 3)
    book = catalogue.Catalogue(folder)
    log = next(folder.glob("fingerprints-*.log"))
    assert log.stat().st_size == book.about()["n_rows"] * killed_writer.DIM * 2
    present = {path.name for path in folder.iterdir() if not path.name.endswith(catalogue.SIDE_FILES)}
    expected = {catalogue.FILE, catalogue.COPY, "writer.lock", log.name}
    assert present == expected | {segment.file for segment in book.segments()}
    book.close()


def test_a_creation_killed_at_every_step_can_be_done_again(memory):
    network = databases.network_file(memory)
    (memory / "tiny0.confidence.json").write_text("{}")
    victim = victims.Victim("tests.killed_writer", "--create", network)
    ended, step, left = False, 0, set()
    while not ended:
        step += 1
        folder = memory / f"db{step}"
        ended = victim.live(folder, step=step)[1]
        left |= {path.name for path in folder.iterdir()} if folder.exists() else set()
        if not (folder / catalogue.FILE).exists():
            database.Database.create(folder, network=network).close()
        with database.Database.open(folder) as opened:
            assert opened.verify().damages == []
        assert {path.name for path in folder.iterdir() if not path.name.endswith(catalogue.SIDE_FILES)} == {
            network_file.NETWORK,
            network_file.CONFIDENCE,
            catalogue.FILE,
            writer_lock.NAME,
        }
    victim.end()
    assert step > 15
    parts = {name.partition(".part")[0].rpartition(".")[0] for name in left if ".part" in name}
    assert parts == {network_file.NETWORK, network_file.CONFIDENCE, catalogue.FILE}
