"""Peaks beside fingerprints: in the same rows of the log, so that they live and die with them."""

import numpy as np
import pytest

from nafp import errors
from nafp.database import catalogue, check, codes, creation, database, writer
from nafp.search import confidence, peaks
from tests import databases, tunes

RATE_HZ = 8000


def some_peaks(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 32), np.uint8)


def fill(folder, n: int, *, first: int = 0) -> None:
    with writer.DatabaseWriter(folder, seal_rows=databases.SEAL) as writing, writing.together():
        for number in range(first, first + n):
            rows = databases.unit(40, seed=number)
            writing.append(f"/music/{number}.wav", 20.5, rows, peaks=some_peaks(number), digest=f"digest {number}")


def check_kept(opened: database.Database, numbers) -> None:
    """Checks that tracks of these numbers have their fingerprints and their peaks."""
    for number in numbers:
        track = opened.track(f"/music/{number}.wav")
        place = slice(track.first_row, track.first_row + track.n_rows)
        np.testing.assert_array_equal(opened.rows.peaks(place.start, place.stop), some_peaks(number))
        rows = opened.rows.read(place.start, place.stop)
        assert np.vecdot(rows, databases.unit(40, seed=number)).mean() > 0.85


@pytest.fixture
def network(memory):
    return databases.network_file(memory)


@pytest.fixture
def opened(memory, network):
    with database.Database.create(memory / "db", network=network, peaks=True, storage="float16") as made:
        fill(made.folder, 40)
        yield made.refresh()


@pytest.mark.parametrize("storage", ["float16", "int4", "pq2"])
def test_peaks_outlive_removing_compacting_and_a_change_of_storage(opened, storage):
    opened.remove(["3.wav", "20.wav"])
    opened.compact(storage=storage)
    left = [number for number in range(40) if number not in (3, 20)]
    check_kept(opened, left)
    assert opened.verify().damages == []
    n_bytes = opened.rows.codec.row_bytes + 32
    assert opened.rows.path.stat().st_size == len(left) * 40 * n_bytes
    _, near = opened.index.search(databases.unit(40, seed=7)[:1], 5)
    assert opened.track("/music/7.wav").first_row in near


def test_a_flipped_bit_in_the_peaks_costs_its_track_alone(opened):
    data = bytearray(opened.rows.path.read_bytes())
    data[(40 * 5 + 2) * (32 + 32) + 32 + 9] ^= 4  # Behind the 16 numbers of the third row of the sixth track.
    opened.rows.path.write_bytes(data)
    report = opened.verify()
    assert report.tracks == ["/music/5.wav"]
    assert not opened.rows.is_whole(5)
    assert opened.rows.is_whole(4)
    opened.repair(report)
    assert len(opened) == 39
    check_kept(opened, [4, 6])


def test_merging_takes_peaks_along_and_does_without_where_there_are_none(memory, network, opened):
    plain = databases.filled(memory / "plain", 3, first=100, network=network)
    assert len(opened.merge([plain.folder]).added) == 3
    track = opened.track("/music/101.wav")
    assert not opened.rows.peaks(track.first_row, track.first_row + 40).any()
    check_kept(opened, [0, 39])
    with database.Database.create(memory / "other", network=network, storage="int8", peaks=True) as other:
        fill(other.folder, 5, first=60)
        assert len(opened.merge([other.folder]).added) == 5
        check_kept(opened, [60, 64])
        assert len(plain.merge([other.folder]).added) == 5
    assert plain.rows.peak_bytes == 0
    assert plain.verify().damages == []


def test_peaks_of_another_shape_are_refused_and_nothing_is_added(opened):
    with (
        opened.writer() as writing,
        pytest.raises(errors.Invalid, match=r"peaks of shape \(3, 32\); \(40, 32\) are needed"),
    ):
        writing.append("odd", 20.5, databases.unit(40), peaks=some_peaks(0)[:3])
    assert len(opened.refresh()) == 40


def test_a_version_that_knows_no_peaks_must_not_read_their_rows(memory, network, opened):
    assert opened.about["format"] == creation.FORMAT_WITH_PEAKS
    assert opened.info()["peak_bytes"] == 32
    plain = databases.filled(memory / "plain", 1, network=network)
    assert plain.about["format"] == creation.FORMAT
    assert "peak_bytes" not in plain.info()
    book = catalogue.Catalogue(opened.folder, write=True)
    with book.change():
        book.tell({"format": 3})
    book.close()
    with pytest.raises(errors.Invalid, match="of format 3, this nafp reads 1 and 2"):
        database.Database.open(opened.folder)


@pytest.mark.parametrize("wrong", [31, -32, "32", 32.0, True])
def test_a_catalogue_that_says_something_impossible_of_peaks_is_refused(opened, wrong):
    book = catalogue.Catalogue(opened.folder, write=True)
    with book.change():
        book.tell({"peak_bytes": wrong})
    book.close()
    (opened.folder / catalogue.COPY).unlink(missing_ok=True)
    with pytest.raises(errors.Invalid, match="the bytes of the peaks of a row"):
        catalogue.Catalogue(opened.folder)


def test_the_property_is_that_of_the_database(memory, network):
    database.open_or_create(memory / "one", checkpoint=network, peaks=True).close()
    assert database.open_or_create(memory / "one").about["peak_bytes"] == 32
    with pytest.raises(errors.Invalid, match="its peaks is True, not False"):
        database.open_or_create(memory / "one", peaks=False)


def test_a_hop_that_would_give_other_peaks_when_it_is_rounded_is_refused(memory, network):
    with pytest.raises(errors.Invalid, match="no hop for peaks"):
        database.Database.create(memory / "odd", network=network, hop_s=0.10935, peaks=True)
    assert not (memory / "odd").exists()
    database.Database.create(memory / "odd", network=network, hop_s=0.10935).close()


def test_adding_recordings_computes_their_peaks(memory, network):
    tunes.write(memory / "tune.wav", tunes.tune(12, sample_rate_hz=RATE_HZ, seed=4), RATE_HZ)
    with database.Database.create(memory / "db", network=network, peaks=True) as opened:
        opened.add(memory / "tune.wav", runtime="numpy", show=False)
        samples = tunes.tune(12, sample_rate_hz=RATE_HZ, seed=4)
        segments = np.lib.stride_tricks.sliding_window_view(samples, 8000)[::4000]
        expected = peaks.of_segments(segments, sample_rate_hz=RATE_HZ, hop=4000)
        kept = opened.rows.peaks(0, len(opened.rows))
        assert kept.shape == expected.shape
        assert (kept == expected).mean() > 0.95  # The file has 16 bits.


def test_rows_of_a_database_without_peaks_have_none(memory, network):
    plain = databases.filled(memory / "plain", 1, network=network)
    assert plain.rows.peaks(0, 40).shape == (40, 0)
    assert codes.of(plain.about).row_bytes == plain.rows.row_bytes
    assert check.verify(plain._catalogue).damages == []
    assert confidence.Confidence([1], np.zeros((1, 3))).peak_share(1) == 0
