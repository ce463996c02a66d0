"""Every benchmark can be imported."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
# One process imports them all. Each defines flags of its own, so those of the one before are forgotten.
IMPORTS = """
import importlib, pathlib
from absl import flags

before = set(flags.FLAGS)
for path in sorted(pathlib.Path("benchmarks").glob("*.py")):
    try:
        assert importlib.import_module(f"benchmarks.{path.stem}").__doc__ or path.stem == "__init__", path
    except ModuleNotFoundError as error:  # Rivals that only a person installs.
        assert error.name in {"torch", "audfprint2", "chromaprint", "acoustid"}, (path, error)
    print(path.stem)
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
"""


def test_every_benchmark_can_be_imported():
    done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 20
