"""A database that Milvus searches: the same answers as its own index files, and never a wrong one when something fails.

milvus-lite stands for the server. NAFP_TEST_MILVUS=http://HOST:PORT runs the same tests against a real one.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys

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
    engine_trust,
    engines,
    milvus,
    writer,
)
from tests import databases

SERVER = os.environ.get("NAFP_TEST_MILVUS", "")
NOWHERE = "http://127.0.0.1:1"
SEAL = 100


class Killed(BaseException):
    """Ends a writer at once, as a kill does: nobody catches it."""


@pytest.fixture(scope="module", autouse=True)
def agreed(tmp_path_factory):
    """Lets engines be agreed to in a folder of this module's own, and to the one that nobody reaches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv(engine_trust.VARIABLE, NOWHERE)
        yield


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """The address of Milvus, which the tests of this module share. Each makes collections of its own."""
    return SERVER or str(tmp_path_factory.mktemp("milvus") / "lite.db")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Makes a database of tracks 0 .. 11, of 40 rows each, without an engine."""
    folder = tmp_path_factory.mktemp("engine") / "db"
    databases.filled(folder, 12).close()
    return folder


@pytest.fixture
def folder(template, memory, uri):
    """A copy of that database, searched by Milvus. What it left in Milvus is dropped at the end."""
    shutil.copytree(template, memory / "db")
    engines.choose(memory / "db", engine_facts.asked(uri))
    yield memory / "db"
    _drop_all(memory / "db", uri)


def _drop_all(folder, uri):
    """Drops every collection of a database and of its copies."""
    client = milvus.opened(engine_facts.asked(uri))._client
    with catalogue.Catalogue(folder) as book:
        about = book.about()
    for engine in [engine_facts.stored(about), *engine_facts.leftovers(about)]:
        if engine:
            for name in client.list_collections():
                if engine.database in name:
                    client.drop_collection(name)


def engine_of(folder):
    with catalogue.Catalogue(folder) as book:
        return engine_facts.of(book.about())


def client_of(folder):
    return milvus.opened(engine_of(folder))


def tell(folder, **changes):
    """Changes what the catalogue says of its engine."""
    with catalogue.Catalogue(folder, write=True) as book, book.change():
        book.tell({engine_facts.FACT: engine_of(folder)._replace(**changes).fact()})


def add(folder, first, n, *, seal_rows=SEAL):
    with writer.DatabaseWriter(folder, seal_rows=seal_rows) as changes:
        for number in range(first, first + n):
            changes.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))


def found(folder, number):
    """Returns the name of the track of the nearest row to each of four rows of a track."""
    with database.Database.open(folder) as opened:
        _, near = opened.index.search(databases.unit(40, seed=number)[10:14], 5)
        return {opened.rows.tracks[track] for track in opened.rows.track_of(near[:, 0])}


def finds_all(folder, numbers):
    return all(found(folder, number) == {f"/music/{number}.wav"} for number in numbers)


def queries(numbers, *, noise=0.1):
    rows = np.concatenate([databases.unit(40, seed=number)[5:9] for number in numbers])
    rows += noise * np.random.default_rng(0).standard_normal(rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def require_same(one, other, *, atol=2e-6):
    """Requires the same rows and cosines of two searches. Rows whose cosines are as good as equal may change places."""
    np.testing.assert_allclose(one[0], other[0], atol=atol)
    for row, (left, right) in enumerate(zip(one[1], other[1])):
        for place in np.flatnonzero(left != right):
            assert np.abs(one[0][row] - one[0][row][place]).min(initial=1, where=left == right[place]) < 2 * atol
        assert len(set(left)) == len(left)


@pytest.mark.parametrize("storage", ["float16", "int4"])
def test_the_answers_are_those_of_a_flat_index(memory, uri, storage):
    databases.filled(memory / "db", 12, storage=storage).close()
    with database.Database.open(memory / "db") as opened:
        before = opened.index.search(queries(range(12)), 50)
        engines.choose(memory / "db", engine_facts.asked(uri))
        after = opened.refresh().index.search(queries(range(12)), 50)
    require_same(before, after)
    _drop_all(memory / "db", uri)


def test_the_recordings_that_ship_are_answered_as_before(memory, uri, pytestconfig):
    music = sorted((pytestconfig.rootpath / "tests/recordings/music").iterdir())[:4]
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
    require_same(before, after, atol=1e-5)
    _drop_all(memory / "db", uri)


def test_a_removed_track_is_hidden_at_once_and_deleted_with_many(folder):
    assert finds_all(folder, [3])
    with database.Database.open(folder) as opened:
        opened.remove("3.wav")
    assert found(folder, 3) & {"/music/3.wav"} == set()
    assert client_of(folder).count(engine_of(folder).collection) == 480  # One track is not worth a call.
    with catalogue.Catalogue(folder, write=True) as book:
        assert book.removed() == [(120, 40)]
        engine_sync.EngineSync(book).purge(least=1)
        assert book.removed() == []
    engine = engine_of(folder)
    assert engine.held == engine.least == client_of(folder).count(engine.collection) == 440
    assert finds_all(folder, [2, 4])
    with database.Database.open(folder) as opened:
        assert opened.verify().damages == []


def test_what_is_added_is_found_before_and_after_it_is_sent(folder):
    add(folder, 12, 2)
    assert engine_of(folder).rows == 480
    assert finds_all(folder, [1, 12, 13])
    add(folder, 14, 1)
    engine = engine_of(folder)
    assert (engine.rows, engine.held) == (600, 600)
    assert client_of(folder).count(engine.collection) == 600
    assert finds_all(folder, range(15))
    with database.Database.open(folder) as opened:
        assert opened.verify().damages == []
        assert opened.info()["index_files"] == 0


def test_a_track_that_was_removed_before_it_was_sent_is_not_counted_as_deleted(folder):
    add(folder, 12, 2)
    with database.Database.open(folder) as opened:
        opened.remove(["13.wav", "2.wav"])
    add(folder, 14, 2)
    assert engine_of(folder).held == 480 + 80  # 12 and 14; 15 waits.
    with catalogue.Catalogue(folder, write=True) as book:
        assert book.removed() == [(80, 40)]
        engine_sync.EngineSync(book).purge(least=1)
    assert engine_of(folder).held == client_of(folder).count(engine_of(folder).collection) == 520
    assert finds_all(folder, [1, 12, 14, 15])


def test_compacting_makes_a_new_collection_and_the_next_writer_drops_the_old_one(folder):
    before = engine_of(folder)
    with database.Database.open(folder) as opened:
        opened.remove("0.wav")
        opened.compact()
    after = engine_of(folder)
    assert (after.rows, after.generation) == (440, 1)
    assert after.collection != before.collection
    assert finds_all(folder, range(1, 12))
    assert client_of(folder).described(before.collection)
    add(folder, 20, 1)
    assert client_of(folder).described(before.collection) is None
    with database.Database.open(folder) as opened:
        assert opened.verify().damages == []


def test_a_learned_storage_can_be_searched_by_milvus(folder):
    with database.Database.open(folder) as opened:
        with writer.DatabaseWriter(folder) as changes:
            for number in range(12, 28):
                changes.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))
        opened.compact(storage="pq2")
    add(folder, 28, 1, seal_rows=10**6)
    assert engine_of(folder).rows == 28 * 40
    assert finds_all(folder, range(0, 29, 7))


# What may be going on in Milvus when a writer is killed, by the method of `milvus.Milvus` that is about to run.
@pytest.mark.parametrize("method", ["stamp", "rows", "insert", "flush", "wait_indexed"])
def test_a_writer_killed_while_it_sends_loses_nothing(folder, monkeypatch, method):
    def killed(self, *arguments, **keywords):
        if method == "insert":
            usual(self, arguments[0], arguments[1][:30], arguments[2][:30])  # A part came through.
        raise Killed

    usual = getattr(milvus.Milvus, method)
    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, method, killed)
        with pytest.raises(Killed):
            add(folder, 12, 3)
    assert engine_of(folder).rows == 480
    assert finds_all(folder, range(15))
    add(folder, 15, 1)
    engine = engine_of(folder)
    assert engine.rows == client_of(folder).count(engine.collection) == 600
    assert finds_all(folder, range(16))
    with database.Database.open(folder) as opened:
        assert opened.verify().damages == []


def test_a_writer_killed_while_it_deletes_is_answered_and_mended(folder, monkeypatch):
    with database.Database.open(folder) as opened:
        opened.remove(["3.wav", "5.wav"])

    def killed(self, name, rows):
        usual(self, name, rows[:50])
        raise Killed

    usual = milvus.Milvus.delete
    with catalogue.Catalogue(folder, write=True) as book:
        with monkeypatch.context() as patch:
            patch.setattr(milvus.Milvus, "delete", killed)
            with pytest.raises(Killed):
                engine_sync.EngineSync(book).purge(least=1)
        assert finds_all(folder, [2, 4, 6])
        engine_sync.EngineSync(book).purge(least=1)
    engine = engine_of(folder)
    assert engine.held == client_of(folder).count(engine.collection) == 400
    assert finds_all(folder, [2, 4, 6])


def test_a_killed_switch_leaves_the_database_as_it_was(template, memory, uri, monkeypatch):
    shutil.copytree(template, memory / "db")

    def killed(self, name):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, "flush", killed)
        with pytest.raises(Killed):
            engines.choose(memory / "db", engine_facts.asked(uri))
    assert engine_of(memory / "db") is None
    assert finds_all(memory / "db", [1, 11])
    with catalogue.Catalogue(memory / "db") as book:
        (left,) = engine_facts.leftovers(book.about())
    assert milvus.opened(left).described(left.collection)
    add(memory / "db", 12, 1)
    assert milvus.opened(left).described(left.collection) is None


def spoil_dropped(client, engine):
    client.drop(engine.collection)


def spoil_emptied(client, engine):
    client.delete(engine.collection, np.arange(engine.rows))


def spoil_in_part(client, engine):
    client.delete(engine.collection, np.arange(100, 140))


def spoil_foreign(client, engine):
    client.drop(engine.collection)
    client.create(engine.collection, dim=16, index_type="FLAT", lists=1, properties={})


def spoil_wrong_network(client, engine):
    properties = {f"{milvus.PREFIX}network": "0123456789abcdef"}
    client._client.alter_collection_properties(engine.collection, properties=properties)


def spoil_wrong_dimension(client, engine):
    own = client.described(engine.collection).properties
    client.drop(engine.collection)
    client.create(engine.collection, dim=32, index_type="FLAT", lists=1, properties=own)


def spoil_other_database(client, engine):
    client._client.alter_collection_properties(engine.collection, properties={f"{milvus.PREFIX}database": "other"})


SPOILT = {
    spoil_dropped: "is not there any more",
    spoil_emptied: "holds 0 of the 480 rows",
    spoil_in_part: "holds 440 of the 480 rows",
    spoil_foreign: "was not made by nafp",
    spoil_wrong_network: "another network, 0123456789ab",
    spoil_wrong_dimension: "vectors of 32 numbers; those of the database have 16",
    spoil_other_database: "belongs to another database",
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_not_as_the_catalogue_says_is_refused_found_by_verify_and_mended_by_rebuild(folder, spoil):
    spoil(client_of(folder), engine_of(folder))
    with pytest.raises(errors.EngineFailed, match=SPOILT[spoil]):
        found(folder, 1)
    with database.Database.open(folder) as opened:
        ((name, damage),) = opened.verify().damages
        assert name == "engine"
        assert SPOILT[spoil] in damage
        assert "nafp engine DB rebuild" in damage
    engines.rebuild(folder)
    assert finds_all(folder, [1, 11])
    with database.Database.open(folder) as opened:
        assert opened.verify().damages == []


def test_rows_that_go_missing_while_a_database_is_open_are_noticed(folder):
    with database.Database.open(folder) as opened:
        assert (opened.index.search(queries([1]), 20)[1] >= 0).all()
        client_of(folder).delete(engine_of(folder).collection, np.arange(470))
        with pytest.raises(errors.EngineFailed, match="holds 10 of the 480 rows"):
            opened.index.search(queries([1]), 20)


def test_rows_exchanged_under_their_numbers_are_found_by_verify(folder):
    engine = engine_of(folder)
    client_of(folder).delete(engine.collection, np.arange(480))
    client_of(folder).insert(engine.collection, np.arange(480), databases.unit(480, seed=99))
    with database.Database.open(folder) as opened:
        ((_, damage),) = opened.verify().damages
    assert "rows that were looked at are not those written" in damage


def test_a_collection_that_was_taken_out_of_memory_is_loaded_again(folder):
    client, engine = client_of(folder), engine_of(folder)
    with database.Database.open(folder) as opened:
        opened.index.search(queries([1]), 5)
        client._client.release_collection(engine.collection)
        assert (opened.index.search(queries([1]), 5)[1] >= 0).all()
    client._client.release_collection(engine.collection)
    assert finds_all(folder, [1])


def test_a_copy_of_a_database_cannot_spoil_its_original(folder, memory, uri):
    shutil.copytree(folder, memory / "copy")
    add(memory / "copy", 12, 3)
    assert finds_all(memory / "copy", [0, 14])
    with pytest.raises(errors.EngineFailed, match="was changed by a copy of this database"):
        found(folder, 1)
    add(folder, 20, 3)  # It is not sent either, and is safe.
    engines.rebuild(folder)
    assert finds_all(folder, [0, 20, 22])
    assert finds_all(memory / "copy", [0, 14])


def test_a_server_out_of_reach_keeps_nobody_from_adding(folder, uri, caplog):
    tell(folder, uri=NOWHERE)
    with caplog.at_level(logging.WARNING, "nafp"):
        add(folder, 12, 7)
    (warning,) = caplog.messages
    assert NOWHERE in warning
    assert "120 fingerprints are searched without it until a later change sends them" in warning
    with database.Database.open(folder) as opened:
        assert len(opened) == 19
        assert opened.info()["index_files"] >= 1
        opened.remove("18.wav")
        assert opened.verify().damages[0][0] == "engine"
        with pytest.raises(errors.EngineFailed, match=NOWHERE):
            opened.index.search(queries([12]), 5)
    tell(folder, uri=uri)
    assert finds_all(folder, range(18))
    add(folder, 20, 1)
    assert engine_of(folder).rows == 760
    with database.Database.open(folder) as opened:
        assert opened.info()["index_files"] == 0
        assert opened.verify().damages == []
    assert finds_all(folder, [*range(18), 20])


def test_compacting_without_the_server_falls_back_to_files_of_its_own(folder, uri):
    tell(folder, uri=NOWHERE)
    with writer.DatabaseWriter(folder, seal_rows=SEAL) as changes:
        changes.remove(["/music/0.wav"])
        changes.compact()
    assert engine_of(folder).rows == 0
    assert finds_all(folder, range(1, 12))


def test_a_version_that_knows_no_engines_makes_the_collection_useless_and_no_answer_wrong(folder, monkeypatch):
    with monkeypatch.context() as patch:  # It moves the rows, and leaves the fact as it is.
        patch.setattr(engine_sync.EngineSync, "compacted", lambda self, rows, generation: None)
        with writer.DatabaseWriter(folder, seal_rows=10**6) as changes:
            changes.remove(["/music/0.wav"])
            changes.compact()
    assert engine_of(folder).rows == 0
    assert finds_all(folder, range(1, 12))
    with database.Database.open(folder) as opened:
        assert "holds nothing of these fingerprints" in opened.verify().damages[0][1]
        opened.repair(opened.verify())
        assert opened.verify().damages == []
    assert engine_of(folder).rows == 440
    assert finds_all(folder, range(1, 12))


def test_inserting_is_tried_again_after_what_passes_and_not_after_what_does_not(folder, monkeypatch):
    client, engine = client_of(folder), engine_of(folder)
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


def test_rows_that_were_never_acknowledged_take_no_place(folder):
    engine, twins = engine_of(folder), np.repeat(databases.unit(40, seed=1)[10:11], 60, axis=0)
    client_of(folder).insert(engine.collection, np.arange(480, 540), twins)
    with database.Database.open(folder) as opened:
        cosines, near = opened.index.search(databases.unit(40, seed=1)[10:11], 20)
    assert (near >= 0).all()
    assert (near < 480).all()
    assert near[0, 0] == 50
    assert (np.diff(cosines[0]) <= 0).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"uri": ""}, "--uri is needed"),
        ({"uri": "milvus:19530"}, "neither http://HOST:PORT"),
        ({"uri": "ftp://host"}, "neither http://HOST:PORT"),
        ({"uri": "http://user:secret@host:19530"}, "an address holds no token"),
        ({"uri": "http://host", "index": "HNSW"}, "allowed are auto, FLAT, IVF_FLAT, IVF_SQ8"),
        ({"uri": "http://host", "token_file": "a", "token_env": "B"}, "one of them"),
        ({"uri": "http://host", "token_file": "/nowhere/token"}, "cannot be read: No such file"),
        ({"uri": "http://host", "token_env": "NAFP_NO_SUCH"}, "NAFP_NO_SUCH is not set"),
        ({"uri": "http://host", "lists": 0}, "1 to 65536"),
        ({"uri": "http://host", "timeout_s": float("nan")}, "3600 seconds"),
    ],
)
def test_what_cannot_be_an_engine_is_refused(settings, words):
    with pytest.raises(errors.Error, match=words):
        engine_facts.asked(**settings)


def test_nobody_elses_database_is_sent_anything_before_that_is_agreed_to(folder, memory, monkeypatch):
    (memory / "secret").write_text("a secret")
    named = engine_of(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(memory / "config"))
    monkeypatch.setattr(milvus, "opened", lambda engine: pytest.fail("connected"))
    for changes in ({}, {"uri": NOWHERE, "token_file": str(memory / "secret")}, {"uri": NOWHERE, "token_env": "HOME"}):
        tell(folder, **changes)
        with pytest.raises(
            errors.EngineFailed, match="to which nobody has agreed on this machine: nafp engine DB trust"
        ):
            found(folder, 1)
        with pytest.raises(errors.EngineFailed, match="nobody has agreed"):
            engines.rebuild(folder)
    monkeypatch.undo()
    tell(folder, uri=named.uri, token_file=None, token_env=None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(memory / "config"))
    with pytest.raises(errors.EngineFailed, match="nobody has agreed"):
        found(folder, 1)
    engines.trust(folder)
    engines.trust(folder)
    assert engine_trust.file().read_text() == f"{named.uri}\n"
    assert finds_all(folder, [1])


def test_the_database_holds_no_token(template, memory, uri, monkeypatch):
    shutil.copytree(template, memory / "db")
    (memory / "token").write_text("a-secret-token\n")
    monkeypatch.setenv("NAFP_TEST_TOKEN", "another-secret")
    for settings, token in (
        ({"token_file": str(memory / "token")}, "a-secret-token"),
        ({"token_env": "NAFP_TEST_TOKEN"}, "another-secret"),
    ):
        asked = engine_facts.asked(uri, **settings)
        assert asked.token() == token
        engines.choose(memory / "db", asked)
        assert engine_of(memory / "db").token() == token
        for path in (memory / "db").iterdir():
            assert token.encode() not in path.read_bytes()
    _drop_all(memory / "db", uri)


@pytest.mark.parametrize(
    "changes",
    [{"kind": "other"}, {"uri": 7}, {"collection": "a; drop"}, {"rows": -1}, {"rows": True}, {"index_type": "HNSW"}],
)
def test_a_catalogue_with_an_impossible_engine_is_damaged(template, memory, changes):
    shutil.copytree(template, memory / "db")
    fact = engine_facts.asked(NOWHERE).fact() | changes
    with catalogue.Catalogue(memory / "db", write=True) as book, book.change():
        book.tell({engine_facts.FACT: fact})
    with pytest.raises(errors.Invalid, match="the engine cannot be so"):
        catalogue.Catalogue(memory / "db", write=True)


def test_lists_are_searched_in_the_share_that_faiss_searches():
    engine = engine_facts.asked(NOWHERE, index="IVF_SQ8").renewed(0, n_rows=10)
    assert (engine.lists, engine.n_probe) == (1024, 164)
    assert engine_facts.asked(NOWHERE).renewed(0, n_rows=999_999).index_type == "FLAT"
    assert engine_facts.asked(NOWHERE).renewed(0, n_rows=10**6).index_type == "IVF_SQ8"


def test_blocks_to_verify_cover_the_live_rows_once():
    live = [(0, 10), (15, 30), (60, 5)]
    blocks = list(engine_check._blocks(live, 63, 20))
    assert [(first, end) for first, end, _ in blocks] == [(0, 20), (20, 40), (40, 60), (60, 63)]
    rows = np.concatenate([rows for *_, rows in blocks])
    assert rows.tolist() == [*range(10), *range(15, 45), 60, 61, 62]


_DYING = """
import os, signal, sys
from nafp.database import milvus, writer
from tests import databases
usual = milvus.Milvus.insert
def insert(self, name, rows, vectors):
    usual(self, name, rows[:50], vectors[:50])
    os.kill(os.getpid(), signal.SIGKILL)
milvus.Milvus.insert = insert
with writer.DatabaseWriter(sys.argv[1], seal_rows=100) as changes:
    for number in range(12, 15):
        changes.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))
        print("added", number, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_while_it_sends_loses_nothing(template, memory):
    shutil.copytree(template, memory / "db")
    lite = SERVER or str(memory / "own.db")  # Only one process at a time can have it.
    code = f"from nafp.database import engines, engine_facts; engines.choose({str(memory / 'db')!r}, "
    code += f"engine_facts.asked({lite!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    died = subprocess.run(
        [sys.executable, "-c", _DYING, str(memory / "db")], capture_output=True, text=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert died.stdout.split()[-1] == "14"
    assert finds_all(memory / "db", range(15))
    add(memory / "db", 15, 1)
    assert engine_of(memory / "db").rows == 600
    assert finds_all(memory / "db", range(16))
    with database.Database.open(memory / "db") as opened:
        assert opened.verify().damages == []
