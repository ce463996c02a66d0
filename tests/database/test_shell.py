"""From the shell a collection is made, listed, changed and checked without JAX."""

import io
import json
import os
import pathlib
import subprocess
import sys

import pytest

from nafp.verbs import list
from tests import databases, tunes

ROOT = pathlib.Path(__file__).parents[2]
RATE = 16000


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """A database of five tracks."""
    with databases.filled(tmp_path_factory.mktemp("shell") / "db", 5) as opened:
        yield opened


@pytest.mark.parametrize("format, n_lines", [("text", 5), ("json", 5), ("csv", 6), ("tsv", 6), ("names", 5)])
def test_a_list_has_a_line_for_each_track(five, format, n_lines):
    out = io.StringIO()
    assert list.write(five, [], out, format=format) == 5
    lines = out.getvalue().splitlines()
    assert len(lines) == n_lines
    assert "/music/4.wav" in lines[-1] or "4.wav" in lines[-1]
    if format == "json":
        first = json.loads(lines[0])
        assert {"id": 1, "name": "/music/0.wav", "title": "Title 0", "fingerprints": 40}.items() <= first.items()


# A process in which nothing can import JAX loads what verbs need and is forked for each command.
SHELL = """
import json, os, runpy, sys

for name in ("jax", "jaxlib", "flax", "optax", "orbax", "grain"):
    sys.modules[name] = None
from nafp.verbs import add, compact, info, remove, verify

for number, words in enumerate(json.loads(sys.argv[2])):
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    printed = os.open(os.path.join(sys.argv[1], str(number)), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(printed, 1), os.dup2(printed, 2)
    sys.argv = ["nafp", *words]
    runpy.run_module("nafp", run_name="__main__", alter_sys=True)
"""


def shell(folder, *commands):
    """Runs `nafp` with each of these lists of words. Returns the exit code and the output of each."""
    folder.mkdir()
    words = json.dumps([[str(word) for word in command] for command in commands])
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SHELL, folder, words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = [(folder / str(number)).read_text() for number in range(len(commands))]
    return [int(code) for code in done.stdout.split()], printed


def test_from_the_shell_a_collection_lives_without_jax(memory):
    db, network, music = memory / "shell", databases.network_file(memory), memory / "music"
    for number in range(3):
        tune = tunes.tune(3 + number, sample_rate_hz=RATE, seed=number)
        tunes.write(music / f"{number}.flac", tune, RATE)
    codes, said = shell(
        memory / "said",
        ("add", db, music, f"--checkpoint={network}", "--runtime=numpy", "--tag=mood=calm"),
        ("list", db, "--format=json"),
        ("remove", db, "1.flac"),
        ("remove", db, "1.flac"),
        ("info", db),
        ("compact", db, "--storage=int8"),
        ("verify", db),
    )
    assert codes == [0, 0, 0, 1, 0, 0, 0], said
    added, listed, removed, again, told, compacted, verified = said
    assert "3 tracks added (12 s of audio" in added
    assert json.loads(listed.splitlines()[0])["mood"] == "calm"
    assert "removed" in removed
    assert "no such track" in again
    assert "fingerprints of removed tracks" in told
    assert "less than before" in compacted
    assert "whole; 2 tracks" in verified


def test_verbs_of_a_database_load_no_jax(five):
    code = (
        "import sys; from nafp.database import database, from_audio, from_databases; from nafp.verbs import add, list\n"
        f"opened = database.Database.open({str(five.folder)!r}); opened.index; opened.network(runtime='numpy')\n"
        "print(*sorted({'jax', 'flax', 'optax', 'grain', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
