"""Every reader of rows keeps the same laws: in memory, mapped, read from the disk, and coded in a log."""

import numpy as np
import pytest

from nafp import errors
from nafp.database import codes, fingerprint_log
from nafp.search import collection
from nafp.search import rows as row_readers
from tests import databases

N_ROWS = (0, 1, 2, 25)
READERS = ("array", "mapped", "read", *(f"log {storage}" for storage in codes.STORAGES))


def codec_of(storage):
    if storage in codes.LEARNED:
        return codes.learn(storage, databases.unit(1100, seed=5))
    return codes.codec(storage, dim=16)


@pytest.fixture(scope="module")
def codecs():
    return {storage: codec_of(storage) for storage in codes.STORAGES}


@pytest.fixture(params=READERS)
def made(request, tmp_path, monkeypatch, codecs):
    """Returns a function from a number of rows to a collection and its rows as plain numbers."""
    kind, _, storage = request.param.partition(" ")
    if kind in ("read", "log"):
        monkeypatch.setattr(row_readers, "MAPPED_BYTES", 0)

    def make(n_rows):
        rows = databases.unit(n_rows, seed=n_rows)
        path = tmp_path / f"{n_rows}.rows"
        if kind == "log":
            coded = codecs[storage].encode(rows) if n_rows else np.zeros((0, 1), np.uint8)
            path.write_bytes(coded.tobytes())
            log = fingerprint_log.LogRows(path, codecs[storage], n_rows=n_rows)
            return log, log.codec.gain * log.codec.decode(coded) if n_rows else rows
        path.write_bytes(rows.tobytes())
        if kind == "array" or not n_rows:
            return collection.Collection([rows]), rows
        return collection.Collection([np.memmap(path, np.float32, "r", shape=rows.shape)]), rows

    return make


@pytest.mark.parametrize("n_rows", N_ROWS)
def test_rows_are_read_from_anywhere_to_anywhere(made, n_rows):
    reader, rows = made(n_rows)
    assert len(reader) == n_rows
    for start in range(n_rows + 1):
        for stop in range(start, n_rows + 1):
            np.testing.assert_allclose(reader.read(start, stop), rows[start:stop], rtol=1e-6)


@pytest.mark.parametrize("n_rows", N_ROWS[1:])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_windows_are_clipped_rows_wherever_they_begin(made, n_rows, n):
    reader, rows = made(n_rows)
    over_the_end, inside = np.arange(n_rows - n + 1, n_rows + 3), np.arange(n_rows - n + 1)
    everywhere = np.arange(-n - 2, n_rows + 3)
    for starts in (everywhere, over_the_end, inside, over_the_end[:1], everywhere[::-1], everywhere[:0]):
        places = np.clip(starts[:, None] + np.arange(n), 0, n_rows - 1)
        windows = reader.windows(starts, n)
        assert windows.shape == (len(starts), n, 16)
        np.testing.assert_allclose(windows, rows[places], rtol=1e-6)


def test_no_windows_of_no_rows_are_none_and_others_are_refused(made):
    reader, _ = made(0)
    assert reader.windows(np.zeros(0, np.int64), 5).shape == (0, 5, 16)
    assert reader.take(np.zeros(0, np.int64)).shape == (0, 16)
    with pytest.raises(errors.Invalid, match="has none"):
        reader.windows(np.array([0]), 5)


def test_every_block_is_read_once(made):
    reader, rows = made(25)
    np.testing.assert_allclose(np.concatenate([block for _, block in reader.blocks(4)]), rows, rtol=1e-6)
