"""A new database has its network, storage and hop, and keeps to them."""

import shutil

import pytest

from nafp.database import codes, database, network_file
from tests import databases, networks, tunes

RATE = 16000


@pytest.fixture
def network(memory):
    return databases.network_file(memory)


@pytest.fixture
def opened(memory, network):
    with database.Database.create(memory / "db", network=network, storage="float16") as opened:
        yield opened


def test_a_database_keeps_to_its_network_storage_and_hop(tmp_path, network, opened):
    assert database.open_or_create(opened.folder).about == opened.about
    assert database.open_or_create(opened.folder, checkpoint=network, storage="float16").about == opened.about
    other = databases.network_file(tmp_path, seed=1)
    with pytest.raises(ValueError, match="two networks cannot be compared"):
        database.open_or_create(opened.folder, checkpoint=other)
    with pytest.raises(ValueError, match="its storage is float16, not int8"):
        database.open_or_create(opened.folder, storage="int8")
    with pytest.raises(ValueError, match=r"its hop_s is 0.5, not 1.0"):
        database.open_or_create(opened.folder, hop_s=1.0)


def test_a_new_database_becomes_pq2_once_there_is_enough_to_learn_from(memory, network):
    with database.Database.create(memory / "usual", network=network) as made:
        assert (made.about["storage"], made.about["wanted"]) == ("float16", "pq2")
        assert database.open_or_create(made.folder, storage="pq2").about == made.about
        with pytest.raises(ValueError, match="its storage is pq2, not float16"):
            database.open_or_create(made.folder, storage="float16")
    assert [codes.usual(dim=dim) for dim in (128, 4, 6, 7)] == ["pq2", "pq2", "float16", "float16"]


def test_a_network_that_is_not_there_leaves_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a shipped network"):
        database.Database.create(tmp_path / "db", network="nothing")
    with pytest.raises(ValueError, match="storage='int5': allowed are"):
        database.open_or_create(tmp_path / "db", storage="int5")
    assert not (tmp_path / "db").exists()


def test_a_run_of_training_can_be_the_network(tmp_path):
    run = networks.write_run(tmp_path / "run", networks.config(), {7: None})
    with database.Database.create(tmp_path / "of_run", network=str(run)) as opened:
        assert opened.about["network"]["step"] == 7
        shutil.rmtree(run)  # It travels with the database.
        tunes.write(tmp_path / "0.flac", tunes.tune(3.0, sample_rate_hz=RATE), RATE)
        opened.add([str(tmp_path / "0.flac")], runtime="numpy", show=False)
        assert len(opened) == 1


def test_an_exchanged_network_is_noticed(tmp_path, opened):
    shutil.copy(databases.network_file(tmp_path, seed=1), opened.folder / network_file.NETWORK)
    with pytest.raises(ValueError, match="is not the network that made these fingerprints"):
        opened.network(runtime="numpy")
