"""Importing the library changes nothing of the process that imports it."""

import importlib.util
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
# Other people's modules have their own ways; they are loaded before. faiss is loaded by ours alone.
OUTSIDE = [
    *("absl.logging", "flax", "grain", "jax", "optax", "orbax.checkpoint", "scipy.signal", "threadpoolctl"),
    *(name for name in ("pymilvus",) if importlib.util.find_spec(name)),
]
WATCHED = f"""
import importlib, logging, os, pkgutil, sys
for name in {OUTSIDE!r}:
    importlib.import_module(name)

def state():
    levels = {{name: log.level for name, log in logging.root.manager.loggerDict.items() if hasattr(log, "level")}}
    return dict(os.environ), levels, logging.root.level, os.readlink("/proc/self/fd/2")

before = state()
import nafp
modules = [module.name for module in pkgutil.walk_packages(nafp.__path__, "nafp.") if module.name != "nafp.__main__"]
for name in modules:
    importlib.import_module(name)
after = state()
assert "nafp.search.index" in modules and "faiss" in sys.modules
assert after[0] == before[0], set(after[0].items()) ^ set(before[0].items())
changed = {{name: level for name, level in after[1].items() if level != before[1].get(name, logging.NOTSET)}}
assert not changed, changed
assert after[2:] == before[2:]
assert "matplotlib" not in sys.modules
import jax
from launch import devices
os.environ.pop("XLA_FLAGS", None)
devices.split_cpu(4)  # Which fails once JAX has chosen its devices.
assert jax.local_device_count("cpu") == 4
import faiss
assert faiss.cvar.distance_compute_blas_threshold == 128000 or faiss.__version__ < "1.15"
"""


def test_importing_every_module_changes_nothing_of_the_process():
    done = subprocess.run([sys.executable, "-c", WATCHED], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
