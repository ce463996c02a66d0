"""The log of a database on another disk: written, compacted, brought back, and never through a stranger's link."""

import os
import shutil
import tempfile

import numpy as np
import pytest

from nafp import errors
from nafp.database import log_place, writer
from tests import databases


@pytest.fixture
def place(tmp_path):
    """A folder on another disk than the database, where there are two."""
    return tmp_path / "large"


def logs(folder):
    return sorted(path.name for path in folder.glob("fingerprints-*.log"))


def compact(folder, log_folder=None):
    with writer.DatabaseWriter(folder) as changes:
        changes.compact(log_folder=log_folder)


def found(folder):
    """Returns the names of the tracks, whose rows must be those that were added."""
    rows = databases.snapped(folder).rows
    for name, first in zip(rows.tracks, rows.first_rows):
        np.testing.assert_allclose(rows.read(first, first + 40), databases.unit(40, seed=int(name)), atol=1e-3)
    return list(rows.tracks)


def test_a_log_moves_to_another_disk_and_back_with_all_its_tracks(folder, place):
    databases.fill(folder, 3)
    compact(folder, place)
    assert logs(place) == logs(folder) == ["fingerprints-0001.log"]
    assert (folder / logs(folder)[0]).is_symlink()
    databases.fill(folder, 2, first=3)  # Goes on there.
    with writer.DatabaseWriter(folder) as changes:
        changes.remove(["0"])
    compact(folder)
    assert logs(place) == logs(folder) == ["fingerprints-0002.log"]
    assert found(folder) == ["1", "2", "3", "4"]
    compact(folder, folder)
    assert (logs(place), logs(folder)) == ([], ["fingerprints-0003.log"])
    assert not (folder / logs(folder)[0]).is_symlink()
    assert found(folder) == ["1", "2", "3", "4"]


def test_a_copy_reads_the_log_of_its_original_and_does_not_write_it(folder, place, memory):
    databases.fill(folder, 2)
    compact(folder, place)
    shutil.copytree(folder, memory / "copy", symlinks=True)
    before = (place / logs(place)[0]).read_bytes()
    assert found(memory / "copy") == ["0", "1"]
    with pytest.raises(errors.Invalid, match=f"{log_place.OWNER} does not name this database"):
        databases.fill(memory / "copy", 1, first=2)
    assert (place / logs(place)[0]).read_bytes() == before
    (place / log_place.OWNER).write_text(f"{memory / 'copy'}\n")  # As the line says.
    databases.fill(memory / "copy", 1, first=2)
    assert found(memory / "copy") == ["0", "1", "2"]


def test_a_place_is_of_one_database(folder, place, memory):
    databases.fill(folder, 1)
    compact(folder, place)
    other = databases.create_bare(memory / "other")
    databases.fill(other, 1)
    for taken, owner in ((place, str(folder)), (folder, "another database")):
        with pytest.raises(errors.Invalid, match=f"is the place of {owner}"):
            compact(other, taken)
    assert found(folder) == found(other) == ["0"]
    assert logs(other) == ["fingerprints-0000.log"]


def test_what_a_killed_compaction_left_elsewhere_goes_with_its_link(folder, place):
    databases.fill(folder, 1)
    compact(folder, place)
    log_place.begin(folder / "fingerprints-0002.log", folder / "fingerprints-0001.log", None)
    assert len(logs(place)) == len(logs(folder)) == 2
    writer.DatabaseWriter(folder).close()
    assert logs(place) == logs(folder) == ["fingerprints-0001.log"]


def test_a_disk_that_is_not_there_is_said_and_nothing_is_written(folder, place):
    databases.fill(folder, 1)
    compact(folder, place)
    place.rename(place.with_name("away"))
    with pytest.raises(errors.Invalid, match="which is missing; is that disk mounted"):
        writer.DatabaseWriter(folder)
    place.with_name("away").rename(place)
    assert found(folder) == ["0"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second disk: /dev/shm")
def test_a_log_lies_on_a_disk_of_its_own(tmp_path):
    folder = databases.create_bare(tmp_path / "db")
    databases.fill(folder, 2)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        if os.stat(place).st_dev == os.stat(folder).st_dev:
            pytest.skip("both are one disk")
        compact(folder, place)
        databases.fill(folder, 1, first=2)
        assert (folder / logs(folder)[0]).stat().st_dev == os.stat(place).st_dev
        assert found(folder) == ["0", "1", "2"]
