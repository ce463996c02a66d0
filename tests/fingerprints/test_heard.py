"""Tracks as a network hears them: short ones filled up where the original does, and rows at any hop."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.fingerprints import extract
from nafp.search import store
from tests import networks, tunes

pytestmark = pytest.mark.usefixtures("quick_compiler")


@pytest.fixture(scope="module")
def network():
    return networks.extractor(networks.few_blocks(), seed=10, batch_size=16, identity={"sha256": "a"})


def run(network, source, out, **settings):
    return extract.extract(network, str(source), str(out), name="db", **settings)


def short_and_long(folder: pathlib.Path) -> pathlib.Path:
    """Writes files of 3, 1 and 2 rows, the second of them shorter than a segment."""
    for name, seconds in (("a", 2.0), ("b", 0.4), ("c", 1.5)):
        tunes.write(folder / f"{name}.wav", tunes.tune(seconds, seed=ord(name)))
    return folder


def test_a_short_file_of_the_originals_tree_is_one_row_so_that_later_ids_stay(network, tmp_path):
    original = short_and_long(tmp_path / "music" / "test-query-db-500-30s" / "db")
    report = run(network, original, tmp_path / "store")
    assert [track.n_rows for track in store.Store.open(tmp_path / "store", "db").tracks] == [3, 1, 2]
    assert report.failures == []
    short = decode.load(original / "b.wav", sample_rate_hz=network.sample_rate_hz)
    alone = network(np.pad(short, (0, network.segment - len(short)))[None])
    np.testing.assert_allclose(store.Store.open(tmp_path / "store", "db").vectors[3], alone[0], atol=1e-5)
    report = run(network, original, tmp_path / "skipped", short="skip")
    assert [pathlib.Path(path).stem for path, _ in report.failures] == ["b"]


def test_elsewhere_a_short_file_is_filled_up_only_when_told(network, tmp_path):
    folder = short_and_long(tmp_path / "songs")
    assert len(run(network, folder, tmp_path / "as-ever").failures) == 1
    assert run(network, folder, tmp_path / "padded", short="pad").n_rows == 6


def test_a_store_may_have_any_hop(network, tmp_path):
    path = tunes.write(tmp_path / "a.wav", tunes.tune(1.2))
    run(network, path, tmp_path, hop_s=0.1)
    made = store.Store.open(tmp_path, "db")
    assert made.meta["hop_s"] == 0.1
    assert made.tracks[0].n_rows == 3  # From 0, 0.1 and 0.2 s on.
    samples = decode.load(path, sample_rate_hz=network.sample_rate_hz)
    expected = network.at_hop(network.sample_rate_hz // 10).track(samples)
    np.testing.assert_allclose(made.vectors, expected, atol=1e-5)
    with pytest.raises(ValueError, match="at least one sample"):
        run(network, path, tmp_path / "none", hop_s=0.0)
