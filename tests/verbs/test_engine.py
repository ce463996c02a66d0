"""`nafp engine` says what searches a database, changes it, and refuses what cannot be in one line."""

import json
import subprocess
import sys

import pytest

from nafp import errors
from nafp.database import engine_facts
from nafp.verbs import engine, info
from tests import databases

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def own_config(tmp_path, monkeypatch):
    """Engines are agreed to in a folder of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines") / "db"
    databases.filled(folder, 4).close()
    return str(folder)


def test_a_database_searches_by_itself_unless_told_otherwise(db, capsys):
    assert engine.run(db) == 0
    assert capsys.readouterr().out == f"{db}: searched by 0 index files of its own; 160 fingerprints\n"
    assert engine.run(db, "rebuild") == engine.run(db, "local") == 0
    capsys.readouterr()
    assert info.run(db, format="json") == 0
    assert json.loads(capsys.readouterr().out)["engine"] == {"kind": "local"}
    with pytest.raises(errors.Invalid, match="allowed are milvus, local, rebuild, trust"):
        engine.run(db, "milvsu")


LOGGING = """
import io, logging, logging.config

stream = io.StringIO()
logging.getLogger("mine").addHandler(handler := logging.StreamHandler(stream))
handler.close = stream.close
import nafp.database.milvus

logging.getLogger("mine").warning("heard")
assert stream.getvalue() == "heard\\n"
logging.config.dictConfig({"version": 1, "loggers": {"again": {"level": "ERROR"}}})
assert logging.getLogger("again").level == logging.ERROR
"""


def test_the_client_of_milvus_leaves_the_logs_of_others_alone():
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'nafp[milvus]'")
    done = subprocess.run([sys.executable, "-c", LOGGING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_milvus_is_chosen_described_and_left(tmp_path, capsys):
    pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install milvus-lite")
    db, uri = str(tmp_path / "db"), str(tmp_path / "lite.db")
    databases.filled(tmp_path / "db", 4).close()
    assert engine.run(db, "milvus", uri=uri) == engine.run(db, "rebuild") == 0
    first, second = capsys.readouterr().out.splitlines()
    for line in (first, second):
        assert line.startswith(f"{db}: searched by Milvus at {uri}, collection nafp_")
        assert line.endswith(", index FLAT; it holds 160 fingerprints")
    assert first != second  # A collection of its own.
    assert info.run(db) == 0
    assert f"searched by milvus at {uri}: 160 fingerprints" in capsys.readouterr().out
    assert engine.run(db, "trust") == engine.run(db, "local") == 0
    assert capsys.readouterr().out.splitlines()[0] == second
    assert engine.run(db) == 0
    assert capsys.readouterr().out == f"{db}: searched by 0 index files of its own; 160 fingerprints\n"


def test_a_server_out_of_reach_leaves_the_database_as_it_was(db):
    pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'nafp[milvus]'")
    with pytest.raises(errors.EngineFailed, match=f"Milvus at {NOWHERE}: connecting: "):
        engine.run(db, "milvus", uri=NOWHERE, timeout_s=1.0)
    assert engine.run(db) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rebuild", "--uri=http://host"], "--uri belongs to nafp engine DB milvus"),
        (["milvus", f"--uri={NOWHERE}", "--timeout_s=1"], "pymilvus is not installed: pip install 'nafp[milvus]'"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(db, arguments, words):
    # As where the extra is not installed.
    code = "import sys; sys.modules['pymilvus'] = None; from nafp import cli; cli.main()"
    refused = subprocess.run(
        [sys.executable, "-c", code, "engine", db, *arguments], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert words in line


def test_a_fact_survives_the_catalogue():
    asked = engine_facts.asked(NOWHERE, index="IVF_SQ8", lists=64, timeout_s=2.5).renewed(3, n_rows=5)
    about = {engine_facts.FACT: json.loads(json.dumps(asked.fact())), "generation": 3, "n_rows": 5}
    assert engine_facts.of(about) == asked
    assert engine_facts.of(about | {"generation": 4}).collection == ""
    assert engine_facts.of({"generation": 3}) is None
