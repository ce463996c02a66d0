"""A strict bench: several virtual devices, no silent broadcasting, and compiled programs kept for the next run."""

import fcntl
import gc
import os
import pathlib
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # Tests hold on any machine; GPU runs are benchmarks.
# Modules are compiled once, wherever it is turned off too: tests start hundreds of processes that load the same ones.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import jax
import pytest

from launch import devices
from tests import quick_compiler as compiler

LONGEST = ("training", "models", "weights", "sequences", "fingerprints")
# Rooms whose laws do not depend on what computes the network.
ANY_RUNTIME = ("database", "evaluation", "identify", "monitor", "serving", "verbs")

sys.dont_write_bytecode = False
sys.dont_write_bytecode = False
devices.split_cpu(4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """Lets this process and those that tests start share compiled programs, in pytest's own cache folder.

    A program is found by what it computes, so that changed code compiles anew. `pytest --cache-clear` begins afresh.
    """
    if config.pluginmanager.hasplugin("cacheprovider"):
        folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if getattr(config.option, "numprocesses", None):  # A process for each core: threads that wait for one burn it.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ.setdefault(name, "1")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Keeps the collector of garbage off what lives to the end: all modules and all tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Runs one worker more than there are cores: tests wait for the processes that they start."""
    from nafp.jobs import threads

    return threads.n_threads() + 1


@pytest.hookimpl(tryfirst=True)  # Before tests are chosen by their marks.
def pytest_collection_modifyitems(items):
    """Marks the tests of the browser, and puts the rooms first whose files take longest.

    So no process works alone at the end.
    """
    for item in items:
        if "chromium" in item.fixturenames:
            item.add_marker(pytest.mark.browser)
    order = {room: place for place, room in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))


@pytest.fixture(scope="session")
def shipped_corpus(tmp_path_factory):
    """Packs the recordings that ship, once for all tests, which only read it. Returns its folder."""
    from nafp.corpora import corpus, manifest

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # Which all workers share.
    recordings = pathlib.Path(__file__).parent / "recordings" / "RECORDINGS.csv"
    with open(folder / "shipped.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        corpus.build(manifest.read(recordings), folder / "shipped", jobs=0)  # The second worker finds it unchanged.
    return folder / "shipped"


@pytest.fixture(scope="module", autouse=True)
def quick_runtime(request):
    """Lets networks run on ONNX Runtime where a test does not say in what: JAX takes seconds to compile one."""
    from nafp.weights import sources
    from tests import networks

    room = request.path.relative_to(pathlib.Path(__file__).parent).parts[0]
    if room not in ANY_RUNTIME or networks.SOONEST != "onnx":
        yield
        return
    chosen = sources.chosen

    def quick(runtime, source=""):
        return chosen("onnx" if runtime == "auto" else runtime, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "chosen", quick)
        yield


@pytest.fixture(scope="module")
def quick_compiler():
    """Leaves most of XLA's optimisations out, for tests that compile much and compute little."""
    with compiler.used():
        yield
