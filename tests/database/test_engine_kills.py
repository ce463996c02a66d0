"""Whatever Milvus was being told when a writer was killed, nothing is lost, and the next writer mends it."""

import shutil
import signal
import subprocess
import sys

import pytest

pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install milvus-lite")

from nafp.database import catalogue, database, engine_facts, engine_sync, engines, milvus
from tests import engines as on_milvus


class Killed(BaseException):
    """Ends a writer at once, as a kill does: nobody catches it."""


# What may be going on in Milvus when a writer is killed, by the method of `milvus.Milvus` that is about to run.
@pytest.mark.parametrize("method", ["stamp", "rows", "insert", "flush", "wait_indexed"])
def test_a_writer_killed_while_it_sends_loses_nothing(searched, monkeypatch, method):
    def killed(self, *arguments, **keywords):
        if method == "insert":
            usual(self, arguments[0], arguments[1][:30], arguments[2][:30])  # A part came through.
        raise Killed

    usual = getattr(milvus.Milvus, method)
    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, method, killed)
        with pytest.raises(Killed):
            on_milvus.add(searched, 12, 3)
    assert on_milvus.engine_of(searched).rows == 480
    assert on_milvus.finds_all(searched, range(15))
    on_milvus.add(searched, 15, 1)
    engine = on_milvus.engine_of(searched)
    assert engine.rows == on_milvus.client_of(searched).count(engine.collection) == 600
    assert on_milvus.finds_all(searched, range(16))
    with database.Database.open(searched) as opened:
        assert opened.verify().damages == []


def test_a_writer_killed_while_it_deletes_is_answered_and_mended(searched, monkeypatch):
    with database.Database.open(searched) as opened:
        opened.remove(["3.wav", "5.wav"])

    def killed(self, name, rows):
        usual(self, name, rows[:50])
        raise Killed

    usual = milvus.Milvus.delete
    with catalogue.Catalogue(searched, write=True) as book:
        with monkeypatch.context() as patch:
            patch.setattr(milvus.Milvus, "delete", killed)
            with pytest.raises(Killed):
                engine_sync.EngineSync(book).purge(least=1)
        assert on_milvus.finds_all(searched, [2, 4, 6])
        engine_sync.EngineSync(book).purge(least=1)
    engine = on_milvus.engine_of(searched)
    assert engine.held == on_milvus.client_of(searched).count(engine.collection) == 400
    assert on_milvus.finds_all(searched, [2, 4, 6])


def test_a_killed_switch_leaves_the_database_as_it_was(template, memory, uri, monkeypatch):
    shutil.copytree(template, memory / "db")

    def killed(self, name):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(milvus.Milvus, "flush", killed)
        with pytest.raises(Killed):
            engines.choose(memory / "db", engine_facts.asked(uri))
    assert on_milvus.engine_of(memory / "db") is None
    assert on_milvus.finds_all(memory / "db", [1, 11])
    with catalogue.Catalogue(memory / "db") as book:
        (left,) = engine_facts.leftovers(book.about())
    assert milvus.opened(left).described(left.collection)
    on_milvus.add(memory / "db", 12, 1)
    assert milvus.opened(left).described(left.collection) is None


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
    lite = on_milvus.SERVER or str(memory / "own.db")  # Only one process at a time can have it.
    code = f"from nafp.database import engines, engine_facts; engines.choose({str(memory / 'db')!r}, "
    code += f"engine_facts.asked({lite!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)
    died = subprocess.run(
        [sys.executable, "-c", _DYING, str(memory / "db")], capture_output=True, text=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert died.stdout.split()[-1] == "14"
    assert on_milvus.finds_all(memory / "db", range(15))
    on_milvus.add(memory / "db", 15, 1)
    assert on_milvus.engine_of(memory / "db").rows == 600
    assert on_milvus.finds_all(memory / "db", range(16))
    with database.Database.open(memory / "db") as opened:
        assert opened.verify().damages == []
