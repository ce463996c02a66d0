"""A batch follows from the seed and the step alone, and holds what its loss asks for."""

import numpy as np
import pytest

from nafp import errors
from nafp.sequences import batches, clips
from tests.sequences import tones

RULES = batches.Rules(loss="margin", most=12, batch_size=10, seed=0, low=0.2, high=0.4)


def opened(path, **changes) -> batches.Batches:
    return batches.Batches(clips.listed(path), RULES._replace(**changes), dim=tones.DIM)


def test_every_version_of_every_clip_is_an_example_once_an_epoch(tmp_path):
    source = opened(tones.folder(tmp_path, n_clips=10))
    assert (source.n, source.per_epoch) == (10, 3)
    epoch = [source[step] for step in range(3)]
    labels = np.concatenate([batch["label"] for batch in epoch])
    assert sorted(labels) == sorted([*range(10)] * 3)
    assert sum(int(batch["is_anchor"].sum()) for batch in epoch) == 10


def test_a_batch_is_the_same_whenever_it_is_read(tmp_path):
    tones.folder(tmp_path)
    forwards, backwards = opened(tmp_path), opened(tmp_path)
    one = [forwards[step] for step in range(5)]
    other = [backwards[step] for step in range(4, -1, -1)][::-1]
    for a, b in zip(one, other):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert not np.array_equal(one[0]["rows"], one[3]["rows"])
    assert not np.array_equal(one[0]["rows"], opened(tmp_path, seed=1)[0]["rows"])


def test_anchors_are_clean_windows_and_others_chunks_with_smaller_margins(tmp_path):
    source = opened(tones.folder(tmp_path))
    batch = source[0]
    for label, margin, anchor, rows, mask in zip(*(batch[k] for k in ("label", "margin", "is_anchor", "rows", "mask"))):
        n = int(mask.sum())
        assert mask[:n].all()
        assert not rows[n:].any()
        if anchor:
            np.testing.assert_array_equal(rows, tones.sequence(int(label))[4:16])
            assert margin == np.float32(0.4)
        else:
            assert 3 <= n <= 12
            assert 0.2 <= margin <= 0.4


def test_pairs_and_triplets_stand_side_by_side(tmp_path):
    tones.folder(tmp_path)
    pairs = opened(tmp_path, loss="info_nce")[0]
    assert pairs["rows"].shape == (20, 12, 8)
    windows = [tones.sequence(int(label))[4:16] for label in pairs["label"]]
    np.testing.assert_array_equal(pairs["rows"][:10], windows)
    triplets = opened(tmp_path, loss="triplet")[0]
    assert triplets["rows"].shape == (30, 12, 8)
    others = triplets["rows"][20:]
    for label, positive, other in zip(triplets["label"], triplets["rows"][10:20], others):
        np.testing.assert_array_equal(positive, tones.sequence(int(label))[4:16])
        assert not np.array_equal(positive, other)


def test_centres_begin_at_the_mean_of_the_clean_window(tmp_path):
    source = opened(tones.folder(tmp_path))
    np.testing.assert_allclose(source.centres()[3], tones.sequence(3)[4:16].mean(axis=0), rtol=1e-6)


def test_clips_that_cannot_be_trained_on_are_refused(tmp_path):
    tones.folder(tmp_path / "one", n_clips=1)
    with pytest.raises(errors.Invalid, match="1 clip to train on; two are needed"):
        opened(tmp_path / "one")
    tones.folder(tmp_path / "clean", versions=1)
    with pytest.raises(errors.Invalid, match=r"clip 1 has no degraded version, such as 1-01\.npy"):
        opened(tmp_path / "clean")
    tones.folder(tmp_path / "short", n_rows=2)
    with pytest.raises(errors.Invalid, match=r"\.npy: 2 rows"):
        opened(tmp_path / "short")[0]
