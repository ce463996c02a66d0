"""One network is one network, whichever version wrote down its identity."""

import hashlib
import json

import jax
import numpy as np
import pytest

from nafp.models import identities
from nafp.weights import sources
from tests import networks

# What version 0.2 wrote of the network that ships: in its file, in stores and in databases.
OLD_SMALL = "a7a978eb0acdff1ec12ecb767b0f35d8ea70630c713d7bafd74712f7195b8e17"
OLD = {"sha256": OLD_SMALL, "source": "small.safetensors", "step": 18000, "dtype": "float32"}


def tree(seed=0):
    rng = np.random.default_rng(seed)
    layer = {"kernel": rng.standard_normal((3, 1, 2, 4)), "bias": rng.standard_normal(4)}
    other = {"kernel": rng.standard_normal((1, 3, 4, 2)), "bias's": rng.standard_normal(2)}
    return {"params": {"block1": layer, "block10": other}, "batch_stats": {"block1_mean": np.zeros(4)}}


@pytest.fixture(scope="module")
def small():
    """The identity of the network that version 0.2 ships as `small`, as this version writes it."""
    variables, _, step, _ = sources.read("small-0.2")
    return identities.of(variables, source="small.safetensors", step=step)


def test_names_are_spelled_as_jax_spells_their_paths():
    variables = {**tree(), "alone": np.zeros(2)}
    paths = [str(path) for path, _ in jax.tree_util.tree_flatten_with_path(variables)[0]]
    names = sorted(identities.named(variables))
    assert sorted(identities.spelled_by_jax(name) for name in names) == sorted(paths)
    assert names[0] == "alone"
    assert names[-1] == "params/block10/kernel"


def test_the_digest_of_before_is_what_jax_gave():
    # How version 0.2 computed it, with the JAX that is installed.
    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_flatten_with_path(tree())[0]
    for path, leaf in sorted(leaves, key=lambda item: str(item[0])):
        digest.update(str(path).encode())
        digest.update(np.ascontiguousarray(leaf, np.float32).tobytes())
    assert identities.sha256_before(tree()) == digest.hexdigest()


def test_a_network_of_version_0_2_keeps_the_digests_it_has_been_known_by(small):
    assert small["sha256_before"] == OLD_SMALL
    assert small["sha256"] == "36d2c1f1029968e441d60609212106c80f52997b6c906aef316b83dc78eea06b"


def test_the_digest_changes_with_values_and_names():
    digests = [identities.sha256(tree()), identities.sha256(tree(seed=1))]
    renamed = tree()
    renamed["params"]["block2"] = renamed["params"].pop("block10")
    digests.append(identities.sha256(renamed))
    assert len(set(digests)) == 3
    assert identities.sha256(tree()) == identities.sha256(jax.tree.map(jax.numpy.asarray, tree()))


def test_identities_of_both_versions_are_of_one_network(small):
    other = identities.of(tree(), source="small.safetensors", step=18000)
    for one, another in [(OLD, small), (small, OLD), (small, small), (OLD, OLD)]:
        assert identities.same_network(one, another)
        assert not identities.same_network(one, other)
        assert not identities.same_network(other, one)
    assert not identities.same_network({**OLD, "sha256": "x"}, small)


def test_settings_that_change_a_fingerprint_make_another_network():
    def identity(**changes):
        config = networks.config(**changes)
        return identities.of(tree(), source="a", step=1, config=config)

    usual = identity()
    for name, value in {"spectrogram.low_hz": 40.0, "audio.segment_s": 2.0, "model.activation": "relu"}.items():
        assert not identities.same_network(usual, identity(**{name: value}))
    for name, value in {"audio.hop_s": 0.25, "model.form": "gemm", "model.dtype": "bfloat16", "seed": 5}.items():
        assert identities.same_network(usual, identity(**{name: value}))
    before = {key: value for key, value in usual.items() if key != "settings"}
    assert identities.same_network(before, identity(**{"spectrogram.low_hz": 40.0}))
    assert identities.same_record(before, usual)


def test_a_record_is_the_same_with_source_step_and_dtype(small):
    record = {**small, "dtype": "float32"}
    assert identities.same_record(OLD, record)
    assert identities.same_record(record, OLD)
    for change in ({"step": 1}, {"source": "run@18000"}, {"dtype": "bfloat16"}, {"sha256": "x", "sha256_before": "x"}):
        assert not identities.same_record(OLD, {**record, **change})


def test_models_that_others_name_by_a_word_compare_by_it(small):
    assert identities.same_network("loudness", "loudness")
    assert not identities.same_network("loudness", "peaks")
    assert not identities.same_network("loudness", small)
    assert not identities.same_record(None, small)


def test_a_store_is_finished_as_it_was_begun(small):
    meta = {"hop_s": 0.5, "model": {**small, "dtype": "float32"}}
    begun = json.loads(json.dumps({"dim": 64, "meta": {"hop_s": 0.5, "model": OLD}}))
    assert identities.as_begun(meta, begun) == begun["meta"]
    assert identities.as_begun(meta, None) == meta
    assert identities.as_begun(meta, {"dim": 64, "meta": {"model": {**OLD, "sha256": "x"}}}) == meta
    assert identities.as_begun({"hop_s": 1.0}, {"dim": 64, "meta": {}}) == {"hop_s": 1.0}
