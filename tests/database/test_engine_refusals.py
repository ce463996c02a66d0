"""A server that is out of reach, or holds something else, is an error in one line, and never a wrong answer."""

import logging
import shutil
import time

import numpy as np
import pytest

pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install milvus-lite")

from nafp import errors
from nafp.database import (
    catalogue,
    database,
    engine_facts,
    engine_trust,
    engines,
    milvus,
    writer,
)
from tests import databases
from tests import engines as on_milvus


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
def test_what_is_not_as_the_catalogue_says_is_refused_found_by_verify_and_mended_by_rebuild(searched, spoil):
    spoil(on_milvus.client_of(searched), on_milvus.engine_of(searched))
    with pytest.raises(errors.EngineFailed, match=SPOILT[spoil]):
        on_milvus.found(searched, 1)
    with database.Database.open(searched) as opened:
        ((name, damage),) = opened.verify().damages
        assert name == "engine"
        assert SPOILT[spoil] in damage
        assert "nafp engine DB rebuild" in damage
    engines.rebuild(searched)
    assert on_milvus.finds_all(searched, [1, 11])
    with database.Database.open(searched) as opened:
        assert opened.verify().damages == []


def test_rows_that_go_missing_while_a_database_is_open_are_noticed(searched):
    def search():
        for _ in range(200):  # A server may go on showing, and finding, the rows for some seconds.
            assert (opened.index.search(on_milvus.queries([1]), 20)[1] >= 0).all()
            time.sleep(0.1)

    with database.Database.open(searched) as opened:
        assert (opened.index.search(on_milvus.queries([1]), 20)[1] >= 0).all()
        on_milvus.client_of(searched).delete(on_milvus.engine_of(searched).collection, np.arange(470))
        with pytest.raises(errors.EngineFailed, match="holds 10 of the 480 rows"):
            search()


def test_rows_exchanged_under_their_numbers_are_found_by_verify(searched):
    engine = on_milvus.engine_of(searched)
    on_milvus.client_of(searched).delete(engine.collection, np.arange(480))
    on_milvus.client_of(searched).insert(engine.collection, np.arange(480), databases.unit(480, seed=99))
    with database.Database.open(searched) as opened:
        ((_, damage),) = opened.verify().damages
    assert "rows that were looked at are not those written" in damage


def test_a_collection_that_was_taken_out_of_memory_is_loaded_again(searched):
    client, engine = on_milvus.client_of(searched), on_milvus.engine_of(searched)
    with database.Database.open(searched) as opened:
        opened.index.search(on_milvus.queries([1]), 5)
        client._client.release_collection(engine.collection)
        assert (opened.index.search(on_milvus.queries([1]), 5)[1] >= 0).all()
    client._client.release_collection(engine.collection)
    assert on_milvus.finds_all(searched, [1])


def test_a_copy_of_a_database_cannot_spoil_its_original(searched, memory, uri):
    shutil.copytree(searched, memory / "copy")
    on_milvus.add(memory / "copy", 12, 3)
    assert on_milvus.finds_all(memory / "copy", [0, 14])
    with pytest.raises(errors.EngineFailed, match="was changed by a copy of this database"):
        on_milvus.found(searched, 1)
    on_milvus.add(searched, 20, 3)  # It is not sent either, and is safe.
    engines.rebuild(searched)
    assert on_milvus.finds_all(searched, [0, 20, 22])
    assert on_milvus.finds_all(memory / "copy", [0, 14])


def test_a_server_out_of_reach_keeps_nobody_from_adding(searched, uri, caplog):
    on_milvus.tell(searched, uri=on_milvus.NOWHERE)
    with caplog.at_level(logging.WARNING, "nafp"):
        on_milvus.add(searched, 12, 7)
    (warning,) = caplog.messages
    assert on_milvus.NOWHERE in warning
    assert "120 fingerprints are searched without it until a later change sends them" in warning
    with database.Database.open(searched) as opened:
        assert len(opened) == 19
        assert opened.info()["index_files"] >= 1
        opened.remove("18.wav")
        assert opened.verify().damages[0][0] == "engine"
        with pytest.raises(errors.EngineFailed, match=on_milvus.NOWHERE):
            opened.index.search(on_milvus.queries([12]), 5)
    on_milvus.tell(searched, uri=uri)
    assert on_milvus.finds_all(searched, range(18))
    on_milvus.add(searched, 20, 1)
    assert on_milvus.engine_of(searched).rows == 760
    with database.Database.open(searched) as opened:
        assert opened.info()["index_files"] == 0
        assert opened.verify().damages == []
    assert on_milvus.finds_all(searched, [*range(18), 20])


def test_compacting_without_the_server_falls_back_to_files_of_its_own(searched, uri):
    on_milvus.tell(searched, uri=on_milvus.NOWHERE)
    with writer.DatabaseWriter(searched, seal_rows=on_milvus.SEAL) as changes:
        changes.remove(["/music/0.wav"])
        changes.compact()
    assert on_milvus.engine_of(searched).rows == 0
    assert on_milvus.finds_all(searched, range(1, 12))


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


def test_nobody_elses_database_is_sent_anything_before_that_is_agreed_to(searched, memory, monkeypatch):
    (memory / "secret").write_text("a secret")
    named = on_milvus.engine_of(searched)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(memory / "config"))
    monkeypatch.setattr(milvus, "opened", lambda engine: pytest.fail("connected"))
    for changes in (
        {},
        {"uri": on_milvus.NOWHERE, "token_file": str(memory / "secret")},
        {"uri": on_milvus.NOWHERE, "token_env": "HOME"},
    ):
        on_milvus.tell(searched, **changes)
        with pytest.raises(
            errors.EngineFailed, match="to which nobody has agreed on this machine: nafp engine DB trust"
        ):
            on_milvus.found(searched, 1)
        with pytest.raises(errors.EngineFailed, match="nobody has agreed"):
            engines.rebuild(searched)
    monkeypatch.undo()
    on_milvus.tell(searched, uri=named.uri, token_file=None, token_env=None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(memory / "config"))
    with pytest.raises(errors.EngineFailed, match="nobody has agreed"):
        on_milvus.found(searched, 1)
    engines.trust(searched)
    engines.trust(searched)
    assert engine_trust.file().read_text() == f"{named.uri}\n"
    assert on_milvus.finds_all(searched, [1])


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
        assert on_milvus.engine_of(memory / "db").token() == token
        for path in (memory / "db").iterdir():
            assert token.encode() not in path.read_bytes()
    on_milvus.drop_all(memory / "db", uri)


@pytest.mark.parametrize(
    "changes",
    [{"kind": "other"}, {"uri": 7}, {"collection": "a; drop"}, {"rows": -1}, {"rows": True}, {"index_type": "HNSW"}],
)
def test_a_catalogue_with_an_impossible_engine_is_damaged(template, memory, changes):
    shutil.copytree(template, memory / "db")
    fact = engine_facts.asked(on_milvus.NOWHERE).fact() | changes
    with catalogue.Catalogue(memory / "db", write=True) as book, book.change():
        book.tell({engine_facts.FACT: fact})
    with pytest.raises(errors.Invalid, match="the engine cannot be so"):
        catalogue.Catalogue(memory / "db", write=True)
