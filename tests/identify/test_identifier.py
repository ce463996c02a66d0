"""A clip is answered with its track and place, whatever its rate. A store of another network is refused."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from nafp import errors
from nafp.audio import decode
from nafp.fingerprints import extract
from nafp.identify import identifier
from nafp.models import network, numpy_network
from tests import networks

ROOT = pathlib.Path(__file__).parents[2]
MUSIC = sorted((ROOT / "tests" / "recordings" / "music").glob("*.opus"))[:3]


def untrained(seed):
    """Makes a network of random weights. They give equal audio equal fingerprints, which is enough here."""
    c = networks.config()
    identity = {"sha256": str(seed), "source": f"seed{seed}", "step": 0}
    return numpy_network.NumpyNetwork(networks.variables(c, seed=seed), c, identity=identity)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identify")
    extractor = untrained(0)
    listed = folder / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in MUSIC))
    extract.extract(extractor, str(listed), str(folder / "store"), name="db")
    return folder, identifier.Identifier.open(extractor, folder / "store", speeds="none")


@pytest.mark.parametrize("track, start_s", [(0, 3.5), (1, 12.0), (2, 20.5)])
def test_a_clip_is_found_in_its_track_at_its_place(opened, track, start_s):
    clip = decode.load(MUSIC[track], sample_rate_hz=8000)[int(start_s * 8000) :][:40000]
    best, *others = opened[1].identify(clip, sample_rate_hz=8000)
    assert pathlib.Path(best.track) == MUSIC[track]
    assert best.start_s == pytest.approx(start_s)
    assert best.score == pytest.approx(1.0, abs=1e-3)
    assert all(best.score > other.score for other in others)
    assert len({match.track for match in [best, *others]}) == 1 + len(others)


def test_rate_of_the_clip_does_not_matter(opened, tmp_path):
    audio = decode.load(MUSIC[1], sample_rate_hz=22050, start_s=5.0, seconds=4.0)
    best = opened[1].identify(audio, sample_rate_hz=22050)[0]
    assert pathlib.Path(best.track) == MUSIC[1]
    assert best.start_s == pytest.approx(5.0)
    decode.write_wav(tmp_path / "clip.wav", audio, sample_rate_hz=22050)
    again = opened[1].identify_file(tmp_path / "clip.wav")[0]
    assert (again.track, again.start_s) == (best.track, best.start_s)


def test_two_query_rows_for_each_of_the_store_place_a_clip_between_rows(opened):
    first = opened[1]
    finer = identifier.Identifier(first._network, first.rows, first._index, shifts=2, speeds="none")
    clip = decode.load(MUSIC[0], sample_rate_hz=8000)[int(7.25 * 8000) :][:40000]
    best = finer.identify(clip, sample_rate_hz=8000)[0]
    assert best.start_s == pytest.approx(7.25)
    assert best.score > first.identify(clip, sample_rate_hz=8000)[0].score - 1e-3


def test_a_clip_shorter_than_half_a_segment_is_refused_with_its_length(opened):
    with pytest.raises(ValueError, match=r"0\.49 s of audio; at least 0\.5 s"):
        opened[1].identify(np.zeros(3920, np.float32), sample_rate_hz=8000)


def test_a_store_of_another_network_is_refused(opened):
    other = untrained(1)
    with pytest.raises(ValueError, match="was written by seed0, not by seed1"):
        identifier.Identifier.open(other, opened[0] / "store")


def test_identifying_in_numpy_imports_neither_scipy_nor_librosa_nor_jax():
    """With the shipped network and an index built here, so that every step of an answer runs."""
    code = """
import sys
for name in ("jax", "jaxlib", "flax", "scipy", "librosa"):
    sys.modules[name] = None
import numpy as np
from nafp.identify import identifier
from nafp.weights import sources
from nafp.search import collection, index, store
network = sources.load("small", runtime="numpy")
clip = np.sin(np.arange(24000) / 7.0).astype(np.float32)
vectors = network.track(clip)
rows = collection.Collection([vectors], [store.TrackRows("a", 0, len(vectors), 3.0)])
searched = index.build(rows, index.plan("l2", n_rows=len(rows), dim=rows.dim))
answers = identifier.Identifier(network, rows, searched).identify(clip[:16000], sample_rate_hz=8000)
assert answers[0].track == "a"
assert not [name for name in sys.modules if name.split(".")[0] in ("jax", "scipy", "librosa") and sys.modules[name]]
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rate_hz", [44.1, 8, 0, -8000, float("nan"), float("inf")])
def test_a_rate_that_no_clip_has_is_refused(opened, rate_hz):
    with pytest.raises(errors.Invalid, match="samples per second, such as 44100"):
        opened[1].identify(np.zeros(80_000, np.float32), sample_rate_hz=rate_hz)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_no_rows_that_are_no_numbers_come_out_of_a_network(bad):
    samples = np.zeros(16_000, np.float32)
    samples[9000] = bad
    with pytest.raises(errors.Invalid, match="NaN, infinity or absurdly large"):
        untrained(0).track(samples)
    jax_network = network.JaxNetwork.__new__(network.JaxNetwork)  # It asks before it computes.
    with pytest.raises(errors.Invalid, match="NaN, infinity or absurdly large"):
        jax_network.track(samples)
