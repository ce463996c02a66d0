"""What TensorBoard shows of a validation: the numbers are those that the original's mini-search gives."""

import pathlib
import struct
import sys
import zlib

import numpy as np
import pytest

from nafp import config as config_lib
from nafp.training import journal, pictures, validation

LENGTHS = (1, 3, 5, 9, 11, 19)


def test_the_mini_search_scores_as_the_originals_does():
    with np.load(pathlib.Path(__file__).parents[1] / "vectors" / "naf_eval" / "mini_search.npz") as file:
        theirs = dict(file)
    similarity = theirs["query"] @ theirs["db"].T
    ours = validation.scores(similarity, np.zeros(len(similarity), int), lengths=LENGTHS)
    for most in (1, 3, 10):
        rates = [100 * ours[f"top{most}_{length}"] for length in LENGTHS]
        np.testing.assert_allclose(rates, theirs[f"argmax_top{most}"], atol=1e-4)
    np.testing.assert_allclose([ours[f"rank_{n}"] for n in LENGTHS], theirs["argmax_mean_rank"], atol=1e-6)
    assert ours["score"] == pytest.approx(np.mean(theirs["argmax_top1"]) / 100)


def test_distances_are_those_of_the_vectors():
    rng = np.random.default_rng(0)
    clean, degraded = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in rng.standard_normal((2, 6, 8)))
    track = np.repeat([0, 1], 3)
    scores = validation.scores(degraded @ clean.T, track, lengths=(1,))
    apart = np.linalg.norm(degraded[:, None] - clean[None], axis=2)
    assert scores["positive_distance"] == pytest.approx(np.diagonal(apart).mean())
    assert scores["negative_distance"] == pytest.approx(apart[track[:, None] != track[None]].mean())
    assert "negative_distance" not in validation.scores(degraded @ clean.T, np.zeros(6, int), lengths=(1,))


def test_of_equal_places_the_first_is_better():
    same = np.ones((4, 4), np.float32)
    assert validation.ranks(same, np.zeros(4, int), n_segments=1).tolist() == [0, 1, 2, 3]


def levels_of(png: bytes) -> np.ndarray:
    width, height = struct.unpack(">II", png[16:24])
    n_bytes = int.from_bytes(png[33:37])
    rows = np.frombuffer(zlib.decompress(png[41 : 41 + n_bytes]), np.uint8).reshape(height, width + 1)
    return rows[:, 1:]


def test_a_picture_is_bright_where_rows_are_alike():
    levels = pictures.grey(np.eye(3) * 1.2 - 0.2)
    assert np.unique(levels).tolist() == [0, 255]
    np.testing.assert_array_equal(levels_of(pictures.png(levels)), levels)
    assert len(pictures.grey(np.eye(500))) == 4 * pictures.N_ROWS


def test_without_matplotlib_a_picture_is_drawn_in_grey(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    pictures.draw(np.eye(4), tmp_path / "similarity" / "1.png", title="step 1")
    assert levels_of((tmp_path / "similarity" / "1.png").read_bytes()).shape == (16, 16)


def test_tensorboard_gets_scores_and_pictures(tmp_path):
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    log = journal.RunLog(tmp_path, config_lib.default())
    log.scalars(3, {"validation/top3_1": 0.5})
    log.image(3, "validation/similarity", pictures.grey(np.eye(4)))
    log.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    data, values, at = path.read_bytes(), {}, 0
    while at < len(data):  # Length, checksum, event, checksum.
        size = int.from_bytes(data[at : at + 8], "little")
        event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
        values |= {value.tag: (event.step, value) for value in event.summary.value}
        at += 16 + size
    assert values["validation/top3_1"][1].simple_value == 0.5
    step, picture = values["validation/similarity"]
    assert step == 3
    assert levels_of(picture.image.encoded_image_string).shape == (16, 16)
