"""Damage of a disk is found and named. What is whole still answers, and what can be repaired is repaired."""

import numpy as np
import pytest

from nafp import errors
from nafp.database import catalogue, database, network_file
from tests import databases

FILES = (network_file.NETWORK, catalogue.FILE, "fingerprints-0000.log", "segment-0000-0-640.faiss")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A database of 40 tracks, two index files and a tail."""
    folder = tmp_path_factory.mktemp("damage") / "db"
    databases.filled(folder, 40, seal_rows=640).close()
    assert set(FILES) <= {path.name for path in folder.iterdir()}
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(pristine, tmp_path):
    for name, data in pristine.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)


def answers(opened, number):
    """Returns whether a track is found by its fingerprints."""
    _, near = opened.index.search(databases.unit(40, seed=number)[:5], 3)
    tracks = opened.rows.track_of(near[:, 0])
    return (near[:, 0] >= 0).all() and {opened.rows.tracks[t] for t in tracks} == {f"/music/{number}.wav"}


def test_a_whole_database_is_called_so(folder):
    with database.Database.open(folder) as opened:
        report = opened.verify()
        assert (report.damages, report.tracks, report.n_tracks) == ([], [], 40)
        assert opened.troubles == []


def test_a_flipped_bit_in_the_log_costs_its_track_alone(folder):
    flip(folder / "fingerprints-0000.log", 7 * 40 * 32 + 100)
    with database.Database.open(folder) as opened:
        report = opened.verify()
        assert report.tracks == ["/music/7.wav"]
        assert [name for name, _ in report.damages] == ["fingerprints-0000.log"]
        assert all(answers(opened, number) for number in (0, 6, 8, 39))
        with pytest.raises(ValueError, match=r"1 tracks are damaged, such as /music/7.wav; nafp verify"):
            opened.compact()
        opened.repair(report)
        assert opened.verify().damages == []
        assert len(opened) == 39
        assert answers(opened, 39)


def test_a_log_that_was_cut_off_still_answers_for_what_is_left(folder):
    path = folder / "fingerprints-0000.log"
    path.write_bytes(path.read_bytes()[: 30 * 40 * 32 + 50])
    with database.Database.open(folder) as opened:
        assert "holds 1201 of 1600 rows" in opened.troubles[0]
        assert len(opened.rows.tracks) == 30
        assert all(answers(opened, number) for number in (0, 15, 29))
        report = opened.verify()
        assert report.tracks == [f"/music/{number}.wav" for number in range(30, 40)]
        with pytest.raises(errors.Invalid, match=r"10 tracks are damaged, such as /music/30.wav"):
            opened.compact()
        opened.repair(report)
        assert (opened.verify().damages, opened.troubles, len(opened)) == ([], [], 30)
        assert all(answers(opened, number) for number in (0, 15, 29))


@pytest.mark.parametrize("harm", ["missing", "short", "junk"])
def test_rows_of_a_damaged_index_file_are_searched_without_it(folder, harm):
    path = folder / "segment-0000-0-640.faiss"
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:1000] if harm == "short" else b"x" * len(data))
    with database.Database.open(folder) as opened:
        assert path.name in opened.troubles[0]
        assert all(answers(opened, number) for number in (0, 10, 20, 39))
        report = opened.verify()
        assert [name for name, _ in report.damages] == [path.name]
        opened.repair(report)
        assert (opened.verify().damages, opened.troubles, len(opened)) == ([], [], 40)


def test_a_flipped_bit_in_an_index_file_is_found(folder):
    flip(folder / "segment-0000-640-640.faiss", -50)
    with database.Database.open(folder) as opened:
        report = opened.verify()
    assert report.damages == [("segment-0000-640-640.faiss", "other bytes than were written: the checksum differs")]


def test_a_damaged_network_is_named_and_the_tracks_are_there(folder):
    flip(folder / network_file.NETWORK, 5000)
    with database.Database.open(folder) as opened:
        assert opened.verify().damages[0][0] == network_file.NETWORK
        assert answers(opened, 5)
        with pytest.raises(ValueError, match=r"network.safetensors is damaged"):
            opened.network(runtime="numpy")
        with pytest.raises(ValueError, match="restore it from a copy"):
            opened.repair(opened.verify())


@pytest.mark.parametrize("harm", ["missing", "empty", "junk", "cut", "holes"])
def test_the_copy_answers_for_a_damaged_catalogue_and_takes_its_place(folder, harm):
    path = folder / catalogue.FILE
    data = path.read_bytes()
    harmed = {
        "empty": b"",
        "junk": np.random.default_rng(0).bytes(len(data)),
        "cut": data[:5000],
        "holes": data[:100] + bytes(len(data) - 100),
    }
    path.unlink()
    if harm != "missing":
        path.write_bytes(harmed[harm])
    with database.Database.open(folder) as opened:
        assert "its copy is read" in opened.troubles[0]
        assert answers(opened, 3)
        assert opened.track("/music/3.wav").metadata == {"title": "Title 3"}
        with pytest.raises(ValueError, match=r"is damaged.*nafp verify .* --repair"):
            opened.writer()
        report = opened.verify()
        assert report.damages[0][0] == catalogue.FILE
        opened.repair(report)
        assert (opened.verify().damages, opened.troubles, len(opened)) == ([], [], 40)
        opened.remove(["3.wav"])
        assert not answers(opened, 3)
        assert answers(opened, 4)


def test_without_a_copy_a_damaged_catalogue_says_so(folder):
    (folder / catalogue.FILE).write_bytes(b"junk" * 1000)
    (folder / catalogue.COPY).unlink()
    with pytest.raises(ValueError, match=r"catalogue.sqlite: is damaged: .*Restore the folder from a copy"):
        database.Database.open(folder)


def test_no_database_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder; nafp add .* makes one"):
        database.Database.open(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no database: catalogue.sqlite is missing"):
        database.Database.open(tmp_path)
