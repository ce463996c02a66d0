"""Files that a killed process left are removed, whichever version wrote them. Files of anybody else stay."""

import pytest

from nafp import errors
from nafp.database import catalogue, database, network_file, writer, writer_lock
from tests import databases

DATA = ("fingerprints-0001.log", "segment-0000-0-640.faiss", "segment-0012-640-70000.faiss")
UNFINISHED = (
    "segment-0000-0-640.faiss.tmp",
    "segment-0000-0-640.faiss.4711.tmp",
    "segment-0000-0-640.faiss.4711.part",
    "catalogue.sqlite.new",
    "catalogue.sqlite.new-wal",
    "catalogue.sqlite.new-shm",
    "catalogue.sqlite.new-journal",
    "catalogue.sqlite.4711.part",
    "catalogue.sqlite.4711.part-journal",
    "catalogue.copy.sqlite.new",
    "catalogue.copy.sqlite.4711.part",
    "network.safetensors.tmp",
    "network.safetensors.4711.part",
    "confidence.json.4711.part",
)
FOREIGN = (
    "segment-notes.faiss",
    "segment-0000-0-640.faiss.bak",
    "fingerprints-old.log",
    "my segment-0000-0-640.faiss.tmp",
    "catalogue.sqlite.backup",
    "network.safetensors.orig",
    "song.part",
)


def put(folder, names):
    for name in names:
        (folder / name).write_text("content")


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def test_a_writer_removes_what_a_killed_one_left_and_nothing_else(folder):
    databases.fill(folder, 3)
    whole = names_in(folder)
    put(folder, [*DATA, *UNFINISHED, *FOREIGN])
    (folder / "fingerprints-0007.log").mkdir()
    writer.DatabaseWriter(folder).close()
    assert names_in(folder) == whole | {*FOREIGN, "fingerprints-0007.log"}
    assert databases.names(databases.snapped(folder)) == ["0", "1", "2"]


def test_a_writer_follows_no_link_and_removes_none(folder, memory):
    databases.fill(folder, 1)
    put(memory, ["precious"])
    for name in (*DATA, *UNFINISHED):
        (folder / name).symlink_to(memory / "precious")
    writer.DatabaseWriter(folder).close()
    assert (memory / "precious").read_text() == "content"
    assert set(DATA + UNFINISHED) <= names_in(folder)


def test_a_database_whose_creation_was_killed_can_be_made_again(memory):
    network, folder = databases.network_file(memory), memory / "db"
    folder.mkdir()
    begun = [name for name in UNFINISHED if "segment" not in name]
    put(folder, [writer_lock.NAME, network_file.NETWORK, network_file.CONFIDENCE, *begun])
    with database.Database.create(folder, network=network) as opened:
        assert opened.verify().damages == []
        assert opened.confidence is None  # The one that was there belonged to another attempt.
    present = {name for name in names_in(folder) if not name.endswith(catalogue.SIDE_FILES)}
    assert present == {writer_lock.NAME, network_file.NETWORK, catalogue.FILE}


@pytest.mark.parametrize("name", ["precious", network_file.NETWORK, "catalogue.sqlite.new"])
def test_a_folder_with_other_things_in_it_is_left_alone(memory, name):
    network, folder = databases.network_file(memory), memory / "db"
    folder.mkdir()
    put(folder, [name])
    with pytest.raises(errors.AlreadyExists, match="is not empty and no database"):
        database.Database.create(folder, network=network)
    assert names_in(folder) == {name}
    assert (folder / name).read_text() == "content"


def test_a_database_is_not_made_over_another(memory):
    opened = databases.filled(memory / "db", 1)
    with pytest.raises(errors.AlreadyExists, match="is a database already"):
        database.Database.create(opened.folder, network=databases.network_file(memory))
    assert len(opened) == 1
