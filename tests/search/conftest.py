"""Holds every public function of the search to the shapes that its signature states."""

import pytest

from nafp.search import collection, index, list_major, match, speeds, votes
from tests import shapes


@pytest.fixture(scope="package", autouse=True)
def checked_shapes():
    with shapes.held(collection, index, list_major, match, speeds, votes):
        yield
