"""Databases of these tests are small, and most lie in memory."""

import os
import pathlib
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
