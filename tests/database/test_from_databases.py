"""Databases are merged without their audio."""

import numpy as np
import pytest

from nafp import errors
from nafp.database import catalogue, database, fingerprint_log, from_databases, snapshot, writer
from nafp.verbs import merge
from tests import databases


@pytest.fixture
def network(memory):
    return databases.network_file(memory)


def test_databases_merge_without_their_audio(memory, network):
    into = databases.filled(memory / "one", 5, network=network)
    other = databases.filled(memory / "two", 5, first=3, network=network, storage="int8")
    with other.writer() as writing:
        writing.append("/music/0.wav", 3.0, databases.unit(9, seed=99), digest="another")
    report = into.merge([other.refresh().folder])
    assert sorted(report.added) == ["/music/0.wav (2)", *(f"/music/{n}.wav" for n in (5, 6, 7))]
    assert [name for name, _ in report.known] == ["/music/3.wav", "/music/4.wav"]
    assert report.renamed == [("/music/0.wav", "/music/0.wav (2)")]
    assert into.track("/music/6.wav").metadata == {"title": "Title 6"}
    track = into.track("/music/7.wav")
    rows = into.rows.read(track.first_row, track.first_row + track.n_rows)
    assert np.vecdot(rows, databases.unit(40, seed=7)).min() > 0.999
    assert into.merge([other.folder]).added == []
    other.compact(storage="int4")
    into.remove(["5"])
    assert into.merge([other.folder]).added  # Rows of any storage are fingerprints.
    hop = databases.filled(memory / "hop", 1, network=network, hop_s=1.0)
    with pytest.raises(ValueError, match=r"its hop_s is 1.0"):
        into.merge([hop.folder])


def test_databases_that_differ_are_refused_before_anything_is_added(memory, network):
    into = databases.filled(memory / "one", 1)
    alike = databases.filled(memory / "alike", 1, first=5)
    other = databases.filled(memory / "other", 1, first=7, network=databases.network_file(memory, seed=1))
    with pytest.raises(errors.Invalid, match="fingerprints of two networks cannot be compared"):
        into.merge([alike.folder, other.folder])
    assert len(into) == 1


def test_a_database_that_changes_while_it_is_merged_gives_its_tracks_of_one_moment(memory):
    into = databases.filled(memory / "into", 1)
    other = databases.filled(memory / "other", 5, first=1)
    seen = snapshot.Snapshot(other.folder, other._catalogue)
    other.remove(["1.wav", "3.wav"])
    other.compact(storage="int8")  # Rows have moved, and are of another storage.
    with writer.DatabaseWriter(into.folder) as writing:
        report = from_databases.merge(writing, [seen])
    assert report.added == [f"/music/{number}.wav" for number in (2, 4, 5)]
    for number in (2, 4, 5):
        track = into.track(f"/music/{number}.wav")
        rows = into.refresh().rows.read(track.first_row, track.first_row + track.n_rows)
        np.testing.assert_allclose(rows, databases.unit(40, seed=number), atol=1e-3)


def test_damaged_tracks_are_left_out_and_named_and_the_others_are_merged(memory, capsys):
    databases.filled(memory / "into", 1).close()
    other = databases.filled(memory / "other", 6, first=1)
    log = other.folder / "fingerprints-0000.log"
    rows = bytearray(log.read_bytes()[:-1280])  # The last track is lost.
    rows[2 * 1280 + 77] ^= 1  # The third has other rows than were written.
    rows[4 * 1280 : 4 * 1280 + 64] = bytes(64)  # Two rows of the fifth are zeros.
    log.write_bytes(rows)
    assert merge.run(str(memory / "into"), [str(other.folder)]) == 2
    assert capsys.readouterr().err.count("are not those written") == 3
    with database.Database.open(memory / "into") as into:
        assert [track.name for track in into.tracks()] == [f"/music/{number}.wav" for number in (0, 1, 2, 4)]
        assert into.verify().damages == []
        report = into.merge([other.folder])
    assert report.damaged == [(str(other.folder), f"/music/{number}.wav") for number in (3, 5, 6)]
    assert len(report.known) == 3


def test_rows_that_were_written_as_no_fingerprints_are_left_out_too(memory):
    into, other = databases.filled(memory / "into", 1), databases.filled(memory / "other", 3, first=1)
    log = other.folder / "fingerprints-0000.log"
    zeros = np.zeros(40 * 32, np.uint8)
    log.write_bytes(zeros.tobytes() + log.read_bytes()[1280:])
    with catalogue.Catalogue(other.folder, write=True) as book, book.change():
        book.move([], [(fingerprint_log.checksum(zeros), 1)])
    report = into.merge([other.folder])
    assert (report.damaged, len(report.added)) == ([(str(other.folder), "/music/1.wav")], 2)


def test_databases_that_became_small_are_merged_cut_verified_and_repaired(memory, network):
    """Each has learned codes of its own from its own fingerprints."""
    small = dict(network=network, storage=None, seal_rows=30 * 40)
    into = databases.filled(memory / "one", 32, **small)
    other = databases.filled(memory / "two", 32, first=30, **small)
    assert {opened.about["storage"] for opened in (into, other)} == {"pq2"}
    assert len(into.merge([other.folder]).added) == 30
    into.remove(["/music/3.wav"])
    tracks = {int(track.name.split("/")[-1][:-4]): track for track in into.tracks()}
    assert set(tracks) == set(range(62)) - {3}
    for number in (0, 31, 32, 61):  # Those from 32 on were coded twice.
        track = tracks[number]
        rows = into.rows.read(track.first_row, track.first_row + track.n_rows)
        cosines = np.vecdot(rows, databases.unit(40, seed=number)) / np.linalg.norm(rows, axis=1)
        assert cosines.mean() > (0.95 if number < 32 else 0.91)
    log = into.rows.path
    data = bytearray(log.read_bytes())
    data[5 * 40 * into.rows.codec.row_bytes] ^= 1  # In track 5.
    log.write_bytes(data)
    damages = into.refresh().verify()
    assert damages.damages
    into.repair(damages)
    assert {int(track.name.split("/")[-1][:-4]) for track in into.tracks()} == set(range(62)) - {3, 5}
    assert into.about["storage"] == "pq2"
    assert into.verify().damages == []
    into.close(), other.close()
