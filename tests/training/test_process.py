"""Training as a library leaves the process as it found it, and its command hides no defect."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from nafp import cli, errors
from nafp.training import pictures
from tests import commands

ROOT = pathlib.Path(__file__).parents[2]


def python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_sets_no_environment_variable_and_loads_no_matplotlib():
    code = """
import os, sys, jax, grain.python, optax, orbax.checkpoint, flax
before = dict(os.environ)
from nafp.training import beginning, data, journal, listening, loop
print({name: value for name, value in os.environ.items() if before.get(name) != value}, "matplotlib" in sys.modules)
"""
    assert python(code).strip() == "{} False"


def test_a_picture_chooses_no_backend(tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    before = dict.__getitem__(matplotlib.rcParams, "backend")
    pictures.draw(np.eye(4), tmp_path / "similarity" / "1.png", title="step 1")
    assert (tmp_path / "similarity" / "1.png").read_bytes()[:4] == b"\x89PNG"
    assert dict.__getitem__(matplotlib.rcParams, "backend") is before


def failing_training(error, folder):
    """Runs `nafp train`, whose training raises an error."""
    from nafp.training import loop

    def train(*_, **__):
        raise error

    loop.train = train
    sys.argv = ["nafp", "train", "--config=configs/default.py", f"--workdir={folder}"]
    cli.main()


@pytest.mark.parametrize("error, has_trace", [(ValueError("a defect"), True), (errors.Invalid("a wish"), False)])
def test_a_defect_shows_its_trace_and_what_a_person_can_mend_one_line(tmp_path, error, has_trace):
    environment = {**os.environ, "NAFP_TRACEBACK": ""}
    done = commands.started(failing_training, error, tmp_path / "run", env=environment).wait()
    assert ("Traceback" in done.stderr) == has_trace
    if has_trace:
        assert done.returncode == 1
        assert "a defect" in done.stderr
    else:
        assert done.returncode == 2
        assert done.stderr == "nafp train: a wish\n"
