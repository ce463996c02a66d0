"""A database that Milvus searches gives the answers of its own index files, whatever was added and removed."""

import numpy as np
import pytest

pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install milvus-lite")

from nafp import errors
from nafp.database import (
    catalogue,
    database,
    engine_check,
    engine_facts,
    engine_sync,
    engines,
    milvus,
    writer,
)
from tests import databases
from tests import engines as on_milvus


@pytest.mark.parametrize("storage", ["float16", "int4"])
def test_the_answers_are_those_of_a_flat_index(memory, uri, storage):
    databases.filled(memory / "db", 12, storage=storage).close()
    with database.Database.open(memory / "db") as opened:
        before = opened.index.search(on_milvus.queries(range(12)), 50)
        engines.choose(memory / "db", engine_facts.asked(uri))
        after = opened.refresh().index.search(on_milvus.queries(range(12)), 50)
    on_milvus.require_same(before, after)
    on_milvus.drop_all(memory / "db", uri)


def test_the_recordings_that_ship_are_answered_as_before(memory, uri, pytestconfig):
    music = sorted((pytestconfig.rootpath / "tests/recordings/music").iterdir())[:2]
    with database.Database.create(memory / "db") as opened:
        opened.add(music, runtime="numpy", show=False)
    with database.Database.open(memory / "db", runtime="numpy") as opened:
        clips = [opened.rows.read(first + 3, first + 15) for first in opened.rows.first_rows]
        noise = np.random.default_rng(0).standard_normal((len(clips), 12, 128)).astype(np.float32)
        asked = np.concatenate([clip + 0.08 * extra for clip, extra in zip(clips, noise)])
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        before = opened.index.search(asked)
        engines.choose(memory / "db", engine_facts.asked(uri))
        after = opened.refresh().index.search(asked)
        waveform = np.random.default_rng(1).standard_normal(40_000).astype(np.float32) / 10
        assert opened.identify(waveform, 8000) == []
    on_milvus.require_same(before, after, atol=1e-5)
    on_milvus.drop_all(memory / "db", uri)


def test_a_removed_track_is_hidden_at_once_and_deleted_with_many(searched):
    assert on_milvus.finds_all(searched, [3])
    with database.Database.open(searched) as opened:
        opened.remove("3.wav")
    assert on_milvus.found(searched, 3) & {"/music/3.wav"} == set()
    assert (
        on_milvus.client_of(searched).count(on_milvus.engine_of(searched).collection) == 480
    )  # One track is not worth a call.
    with catalogue.Catalogue(searched, write=True) as book:
        assert book.removed() == [(120, 40)]
        engine_sync.EngineSync(book).purge(least=1)
        assert book.removed() == []
    engine = on_milvus.engine_of(searched)
    assert engine.held == engine.least == on_milvus.client_of(searched).count(engine.collection) == 440
    assert on_milvus.finds_all(searched, [2, 4])
    with database.Database.open(searched) as opened:
        assert opened.verify().damages == []


def test_what_is_added_is_found_before_and_after_it_is_sent(searched):
    on_milvus.add(searched, 12, 2)
    assert on_milvus.engine_of(searched).rows == 480
    assert on_milvus.finds_all(searched, [1, 12, 13])
    on_milvus.add(searched, 14, 1)
    engine = on_milvus.engine_of(searched)
    assert (engine.rows, engine.held) == (600, 600)
    assert on_milvus.client_of(searched).count(engine.collection) == 600
    assert on_milvus.finds_all(searched, range(15))
    with database.Database.open(searched) as opened:
        assert opened.verify().damages == []
        assert opened.info()["index_files"] == 0


def test_the_stamp_survives_a_server_that_writes_what_was_before_the_last_change(searched, monkeypatch):
    """As Milvus 2.3.5 does: after its next start a collection had the properties before the last change."""
    client, told = on_milvus.client_of(searched)._client, []
    usual = client.alter_collection_properties

    def alter(name, *, properties, timeout):
        told.append(properties)
        usual(name, properties=properties, timeout=timeout)

    monkeypatch.setattr(client, "alter_collection_properties", alter)
    on_milvus.add(searched, 12, 3)
    on_its_disk = told[-2]
    assert on_its_disk == {f"{milvus.PREFIX}{milvus.STAMP}": on_milvus.engine_of(searched).stamp}


def test_a_track_that_was_removed_before_it_was_sent_is_not_counted_as_deleted(searched):
    on_milvus.add(searched, 12, 2)
    with database.Database.open(searched) as opened:
        opened.remove(["13.wav", "2.wav"])
    on_milvus.add(searched, 14, 2)
    assert on_milvus.engine_of(searched).held == 480 + 80  # 12 and 14; 15 waits.
    with catalogue.Catalogue(searched, write=True) as book:
        assert book.removed() == [(80, 40)]
        engine_sync.EngineSync(book).purge(least=1)
    assert (
        on_milvus.engine_of(searched).held
        == on_milvus.client_of(searched).count(on_milvus.engine_of(searched).collection)
        == 520
    )
    assert on_milvus.finds_all(searched, [1, 12, 14, 15])


def test_compacting_makes_a_new_collection_and_the_next_writer_drops_the_old_one(searched):
    before = on_milvus.engine_of(searched)
    with database.Database.open(searched) as opened:
        opened.remove("0.wav")
        opened.compact()
    after = on_milvus.engine_of(searched)
    assert (after.rows, after.generation) == (440, 1)
    assert after.collection != before.collection
    assert on_milvus.finds_all(searched, range(1, 12))
    assert on_milvus.client_of(searched).described(before.collection)
    on_milvus.add(searched, 20, 1)
    assert on_milvus.client_of(searched).described(before.collection) is None
    with database.Database.open(searched) as opened:
        assert opened.verify().damages == []


def test_a_learned_storage_can_be_searched_by_milvus(searched):
    with database.Database.open(searched) as opened:
        with writer.DatabaseWriter(searched) as changes:
            for number in range(12, 28):
                changes.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))
        opened.compact(storage="pq2")
    on_milvus.add(searched, 28, 1, seal_rows=10**6)
    assert on_milvus.engine_of(searched).rows == 28 * 40
    assert on_milvus.finds_all(searched, range(0, 29, 7))


def test_a_version_that_knows_no_engines_makes_the_collection_useless_and_no_answer_wrong(searched, monkeypatch):
    with monkeypatch.context() as patch:  # It moves the rows, and leaves the fact as it is.
        patch.setattr(engine_sync.EngineSync, "compacted", lambda self, rows, generation: None)
        with writer.DatabaseWriter(searched, seal_rows=10**6) as changes:
            changes.remove(["/music/0.wav"])
            changes.compact()
    assert on_milvus.engine_of(searched).rows == 0
    assert on_milvus.finds_all(searched, range(1, 12))
    with database.Database.open(searched) as opened:
        assert "holds nothing of these fingerprints" in opened.verify().damages[0][1]
        opened.repair(opened.verify())
        assert opened.verify().damages == []
    assert on_milvus.engine_of(searched).rows == 440
    assert on_milvus.finds_all(searched, range(1, 12))


def test_inserting_is_tried_again_after_what_passes_and_not_after_what_does_not(searched, monkeypatch):
    client, engine = on_milvus.client_of(searched), on_milvus.engine_of(searched)
    tried = []
    usual = client._client.upsert

    def upsert(*arguments, **keywords):
        tried.append("upsert")
        return usual(*arguments, **keywords)

    def failing(code):
        def insert(*arguments, **keywords):
            tried.append("insert")
            raise milvus.pymilvus.MilvusException(code, "the rate limit\nis exceeded")

        return insert

    monkeypatch.setattr(milvus, "_BACK_OFF_S", (0.01,))
    monkeypatch.setattr(client._client, "upsert", upsert)
    monkeypatch.setattr(client._client, "insert", failing(8))
    client.insert(engine.collection, np.array([500]), databases.unit(1))
    assert tried == ["insert", "upsert"]
    assert client.count(engine.collection) == 481
    monkeypatch.setattr(client._client, "insert", failing(1100))
    with pytest.raises(errors.EngineFailed, match=r"the rate limit is exceeded$"):
        client.insert(engine.collection, np.array([501]), databases.unit(1))
    assert tried == ["insert", "upsert", "insert"]


def test_rows_that_were_never_acknowledged_take_no_place(searched):
    engine, twins = on_milvus.engine_of(searched), np.repeat(databases.unit(40, seed=1)[10:11], 60, axis=0)
    on_milvus.client_of(searched).insert(engine.collection, np.arange(480, 540), twins)
    with database.Database.open(searched) as opened:
        cosines, near = opened.index.search(databases.unit(40, seed=1)[10:11], 20)
    assert (near >= 0).all()
    assert (near < 480).all()
    assert near[0, 0] == 50
    assert (np.diff(cosines[0]) <= 0).all()


def test_lists_are_searched_in_the_share_that_faiss_searches():
    engine = engine_facts.asked(on_milvus.NOWHERE, index="IVF_SQ8").renewed(0, n_rows=10)
    assert (engine.lists, engine.n_probe) == (1024, 164)
    assert engine_facts.asked(on_milvus.NOWHERE).renewed(0, n_rows=999_999).index_type == "FLAT"
    assert engine_facts.asked(on_milvus.NOWHERE).renewed(0, n_rows=10**6).index_type == "IVF_SQ8"


def test_blocks_to_verify_cover_the_live_rows_once():
    live = [(0, 10), (15, 30), (60, 5)]
    blocks = list(engine_check._blocks(live, 63, 20))
    assert [(first, end) for first, end, _ in blocks] == [(0, 20), (20, 40), (40, 60), (60, 63)]
    rows = np.concatenate([rows for *_, rows in blocks])
    assert rows.tolist() == [*range(10), *range(15, 45), 60, 61, 62]
