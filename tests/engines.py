"""Databases that Milvus searches: milvus-lite, or the server that NAFP_TEST_MILVUS=http://HOST:PORT names."""

import os

import numpy as np

from nafp.database import catalogue, database, engine_facts, milvus, writer
from tests import databases

SERVER = os.environ.get("NAFP_TEST_MILVUS", "")
NOWHERE = "http://127.0.0.1:1"
SEAL = 100


def drop_all(folder, uri):
    """Drops every collection of a database and of its copies."""
    client = milvus.opened(engine_facts.asked(uri))._client
    with catalogue.Catalogue(folder) as book:
        about = book.about()
    for engine in [engine_facts.stored(about), *engine_facts.leftovers(about)]:
        if engine:
            for name in client.list_collections():
                if engine.database in name:
                    client.drop_collection(name)


def engine_of(folder):
    with catalogue.Catalogue(folder) as book:
        return engine_facts.of(book.about())


def client_of(folder):
    return milvus.opened(engine_of(folder))


def tell(folder, **changes):
    """Changes what the catalogue says of its engine."""
    with catalogue.Catalogue(folder, write=True) as book, book.change():
        book.tell({engine_facts.FACT: engine_of(folder)._replace(**changes).fact()})


def add(folder, first, n, *, seal_rows=SEAL):
    with writer.DatabaseWriter(folder, seal_rows=seal_rows) as changes:
        for number in range(first, first + n):
            changes.append(f"/music/{number}.wav", 20.5, databases.unit(40, seed=number))


def found(folder, number):
    """Returns the name of the track of the nearest row to each of four rows of a track."""
    with database.Database.open(folder) as opened:
        _, near = opened.index.search(databases.unit(40, seed=number)[10:14], 5)
        return {opened.rows.tracks[track] for track in opened.rows.track_of(near[:, 0])}


def finds_all(folder, numbers):
    return all(found(folder, number) == {f"/music/{number}.wav"} for number in numbers)


def queries(numbers, *, noise=0.1):
    rows = np.concatenate([databases.unit(40, seed=number)[5:9] for number in numbers])
    rows += noise * np.random.default_rng(0).standard_normal(rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def require_same(one, other, *, atol=2e-6):
    """Requires the same rows and cosines of two searches. Rows whose cosines are as good as equal may change places."""
    np.testing.assert_allclose(one[0], other[0], atol=atol)
    for row, (left, right) in enumerate(zip(one[1], other[1])):
        for place in np.flatnonzero(left != right):
            assert np.abs(one[0][row] - one[0][row][place]).min(initial=1, where=left == right[place]) < 2 * atol
        assert len(set(left)) == len(left)
