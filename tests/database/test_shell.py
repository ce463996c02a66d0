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


def nafp(*words, expect=0):
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nafp", *map(str, words)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_the_shell_a_collection_lives_without_jax(memory):
    db, network, music = memory / "shell", databases.network_file(memory), memory / "music"
    for number in range(3):
        tune = tunes.tune(3 + number, sample_rate_hz=RATE, seed=number)
        tunes.write(music / f"{number}.flac", tune, RATE)
    output = nafp("add", db, music, f"--checkpoint={network}", "--runtime=numpy", "--tag=mood=calm")
    assert "3 tracks added (12 s of audio" in output
    first = json.loads(nafp("list", db, "--format=json").splitlines()[0])
    assert first["mood"] == "calm"
    assert "removed" in nafp("remove", db, "1.flac")
    assert "no such track" in nafp("remove", db, "1.flac", expect=1)
    assert "fingerprints of removed tracks" in nafp("info", db)
    assert "less than before" in nafp("compact", db, "--storage=int8")
    assert "whole; 2 tracks" in nafp("verify", db)


def test_verbs_of_a_database_load_no_jax(five):
    code = (
        "import sys; from nafp.database import database, from_audio, from_databases; from nafp.verbs import add, list\n"
        f"opened = database.Database.open({str(five.folder)!r}); opened.index; opened.network(runtime='numpy')\n"
        "print(*sorted({'jax', 'flax', 'optax', 'grain', 'orbax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
