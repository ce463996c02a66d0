"""Databases of these tests are small, and most lie in memory."""

import os
import pathlib
import shutil
import tempfile

import pytest

from tests import databases


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Indexes of a few hundred rows are made faster by one thread than by several that wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAFP_THREADS", "1")
        yield


@pytest.fixture
def memory():
    """A folder in memory where that is possible: a kill takes nothing from either, and waiting for a disk is slow."""
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=in_memory) as place:
        yield pathlib.Path(place)


@pytest.fixture
def folder(memory, request):
    """An empty database without a network, which keeps peaks if the parameter is True."""
    return databases.create_bare(memory / "db", with_peaks=getattr(request, "param", False))


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """The address of Milvus, which the tests of a module share: each makes collections of its own.

    Engines are agreed to in a folder of the module's own. One that nobody reaches is agreed to already.
    """
    from nafp.database import engine_trust
    from tests import engines

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv(engine_trust.VARIABLE, engines.NOWHERE)
        yield engines.SERVER or str(tmp_path_factory.mktemp("milvus") / "lite.db")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Makes a database of tracks 0 .. 11, of 40 rows each, without an engine."""
    folder = tmp_path_factory.mktemp("engine") / "db"
    databases.filled(folder, 12).close()
    return folder


@pytest.fixture
def searched(template, memory, uri):
    """A copy of that database, searched by Milvus. What it left in Milvus is dropped at the end."""
    from nafp.database import engine_facts
    from nafp.database import engines as chosen
    from tests import engines

    shutil.copytree(template, memory / "db")
    chosen.choose(memory / "db", engine_facts.asked(uri))
    yield memory / "db"
    engines.drop_all(memory / "db", uri)
