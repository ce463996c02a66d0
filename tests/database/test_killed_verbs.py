"""Verbs that change a database or write an --out, killed at every step to the disk, lose nothing that was there.

`test_kills.py` kills writers, removals, compactions and creations; other rooms have tests of their own.
"""

import itertools
import json
import shutil

import numpy as np
import pytest

from nafp.audio import decode
from nafp.database import catalogue, database
from nafp.identify import pfann_files
from tests import databases, killed_verbs, victims

N_TRACKS = 28  # As many rows as pq2 needs to learn from.
_MOST_STEPS = 200


@pytest.fixture(scope="module")
def victim():
    process = victims.Victim("tests.killed_verbs")
    yield process
    process.end()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Makes `db` of tracks 0 .. 27, and `other` of tracks 23 .. 32."""
    folder = tmp_path_factory.mktemp("kills")
    databases.filled(folder / "db", N_TRACKS, seal_rows=640).close()
    databases.filled(folder / "other", 10, first=23).close()
    return folder


def lives(victim, verb, prepare, memory, *, every=1):
    """Yields the folder after each life of a verb, killed one step later each time, and whether it came to its end."""
    for step in itertools.count(1, every):
        assert step < _MOST_STEPS
        folder = memory / f"{verb}{step}"
        folder.mkdir()
        prepare(folder)
        answers, ended = victim.live(f"{verb}:{folder}", step=step)
        assert not [line for line in answers if line.startswith("failed")], answers
        yield folder, ended
        shutil.rmtree(folder)
        if ended:
            assert step > 2
            return


def check(folder, *, at_least, at_most, atol=1e-3):
    """Checks that a database holds these tracks, whole, with what their numbers say. Returns their numbers."""
    with database.Database.open(folder) as opened:
        tracks = {int(track.name.split("/")[-1][:-4]): track for track in opened.tracks()}
        assert at_least <= set(tracks) <= at_most
        for number, track in tracks.items():
            rows = opened.rows.read(track.first_row, track.first_row + track.n_rows)
            np.testing.assert_allclose(rows, databases.unit(40, seed=number), atol=atol)
            assert opened.rows.is_whole(list(opened.rows.tracks).index(track.name))
    return set(tracks)


OLD, NEW = set(range(N_TRACKS)), set(range(N_TRACKS + 5))


@pytest.mark.slow
def test_a_merge_killed_at_every_step_keeps_all_tracks_and_goes_on(victim, template, memory):
    """The fast test is test_a_merge_killed_at_some_steps_keeps_all_tracks."""
    n_between = 0
    for folder, _ in lives(victim, "merge", lambda place: shutil.copytree(template, place, dirs_exist_ok=True), memory):
        there = check(folder / "db", at_least=OLD, at_most=NEW)
        n_between += OLD < there < NEW
        check(folder / "other", at_least=set(range(23, 33)), at_most=set(range(23, 33)))
        with database.Database.open(folder / "db") as opened:
            opened.merge([folder / "other"])
        check(folder / "db", at_least=NEW, at_most=NEW)
    assert n_between > 1


def test_a_merge_killed_at_some_steps_keeps_all_tracks(victim, template, memory):
    prepare = lambda place: shutil.copytree(template, place, dirs_exist_ok=True)  # noqa: E731
    for folder, _ in lives(victim, "merge", prepare, memory, every=6):
        check(folder / "db", at_least=OLD, at_most=NEW)


def damage_log(folder):
    path = folder / "fingerprints-0000.log"
    data = bytearray(path.read_bytes())
    data[40 * 32 * 5 + 7] ^= 255  # In track 5.
    path.write_bytes(data)


def damage_catalogue(folder):
    path = folder / catalogue.FILE
    data = bytearray(path.read_bytes())
    data[8000:8200] = bytes(200)
    path.write_bytes(data)


def damage_index(folder):
    path = next(folder.glob("segment-*.faiss"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 255
    path.write_bytes(data)


DAMAGES = {"log": damage_log, "catalogue": damage_catalogue, "index": damage_index}


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("damages", [("catalogue",), ("log", "catalogue", "index")])
def test_a_repair_killed_at_every_step_loses_no_whole_track(victim, template, memory, damages, every):
    lost = {5} if "log" in damages else set()

    def prepare(folder):
        shutil.copytree(template / "db", folder / "db")
        for name in damages:
            DAMAGES[name](folder / "db")

    for folder, ended in lives(victim, "repair", prepare, memory, every=every):
        with database.Database.open(folder / "db") as opened:
            report = opened.verify()
            if report.damages:
                assert not ended
                opened.repair(report)
        check(folder / "db", at_least=OLD - lost, at_most=OLD - lost)
        with database.Database.open(folder / "db") as opened:
            assert opened.verify().damages == []


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb, gone", [("remove", {3, 7}), ("recode", set())])
def test_a_removal_or_another_storage_killed_at_every_step_loses_no_other_track(
    victim, template, memory, verb, gone, every
):
    n_before = 0
    for folder, ended in lives(
        victim, verb, lambda place: shutil.copytree(template / "db", place / "db"), memory, every=every
    ):
        with database.Database.open(folder / "db") as opened:
            is_coded = opened.about["storage"] != "float16"
            assert opened.verify().damages == []
        there = check(folder / "db", at_least=OLD - gone, at_most=OLD, atol=1.5 if is_coded else 1e-3)
        assert there in (OLD, OLD - gone)
        n_before += not ended
    assert there == OLD - gone
    assert n_before > 2


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_new_database_killed_while_it_becomes_small_loses_no_track(victim, memory, every):
    def prepare(folder):
        databases.filled(folder / "db", N_TRACKS, storage=None, seal_rows=killed_verbs.SWITCH_AT).close()

    last, storages = set(range(28, 31)), []
    for folder, _ in lives(victim, "begin_learned", prepare, memory, every=every):
        with database.Database.open(folder / "db") as opened:
            storages.append(opened.about["storage"])
            assert opened.verify().damages == []
        atol = 1e-3 if storages[-1] == "float16" else 1.5
        there = check(folder / "db", at_least=OLD, at_most=OLD | last, atol=atol)
        killed_verbs.begin_learned(folder)  # Given again, it goes on.
        assert check(folder / "db", at_least=there | last, at_most=OLD | last, atol=1.5)
        with database.Database.open(folder / "db") as opened:
            assert (opened.about["storage"], opened.about["wanted"]) == ("pq2", None)
    assert set(storages) == {"float16", "pq2"}


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_lines_of_a_monitor_killed_at_every_step_stand_once_and_whole(victim, memory, every):
    def prepare(folder):
        for name in ("a.wav", "b.wav"):
            decode.write_wav(folder / name, np.zeros(8000, np.float32), sample_rate_hz=8000)

    expected = [f"{number}.mp3" for number in range(1, killed_verbs.N_BLOCKS + 1)] + ["end.mp3"]
    for folder, ended in lives(victim, "listen", prepare, memory, every=every):
        if not ended:
            answers, done = victim.live(f"listen:{folder}", step=0)
            assert done, answers
        lines = [json.loads(line) for line in (folder / "out").read_text().splitlines()]
        assert [line["track"] for line in lines] == 2 * expected


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_answers_of_identify_killed_at_every_step_are_whole_or_not_there(victim, memory, every):
    for folder, ended in lives(victim, "answer", lambda place: None, memory, every=every):
        if (folder / "r.tsv").exists():
            assert (folder / "r.tsv").read_text().splitlines() == [f"{number}.wav\terror" for number in range(3)]
            assert len((folder / "r_detail.csv").read_text().splitlines()) == 4
            assert (folder / "r.tsv.bin").stat().st_size == 3 * 8
        assert ended == (folder / "r.tsv").exists()
        pfann_files.require_out(folder / "r.tsv", [])  # Given again, the command is not refused.
