"""The fingerprints of a track depend on nothing but its audio, and memory on nothing but the batch."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import pytest

from nafp import config as config_lib
from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import corpus
from nafp.fingerprints import stream
from tests import networks

TOLERANCE = 1e-5  # Between compiled programs; the same program gives the same bits.
SEGMENT, HOP = 8000, 4000


class Ears:
    """Stands in for a network: the first sample and the mean of each segment, at once."""

    batch_size, segment, hop, dim, sample_rate_hz = 8, SEGMENT, HOP, 2, 8000
    config = config_lib.default()
    identity: Mapping[str, Any] = {"sha256": "ears"}

    def __init__(self):
        self.batches = 0

    def start(self, waveforms):
        self.batches += 1
        return self(waveforms)

    def __call__(self, waveforms):
        return np.stack([waveforms[:, 0], waveforms.mean(axis=1)], axis=1)

    def track(self, samples):
        return self(segments.frame(samples, segment=self.segment, hop=self.hop))

    def at_hop(self, hop):
        raise NotImplementedError


def noise(n_samples, seed=0):
    return (np.random.default_rng(seed).standard_normal(n_samples) * 0.1).astype(np.float32)


def source(samples, *, name="a", block=SEGMENT):
    def blocks():
        yield from (samples[at : at + block] for at in range(0, len(samples), block))

    return corpus.Source(name, len(samples) / 8000, blocks)


def broken(n_good, error, *, name="broken"):
    def blocks():
        yield from (noise(SEGMENT) for _ in range(n_good))
        raise error

    return corpus.Source(name, 10.0, blocks)


def vectors(tracks, extractor, **settings):
    return [outcome.vectors for outcome in stream.fingerprints(tracks, extractor, **settings)]


@pytest.fixture(scope="module")
def tracks():
    lengths = (41000, 8000, 12345, 7999, 100000, 64000)
    return [source(noise(n, seed=i), name=str(i), block=30000) for i, n in enumerate(lengths)]


SIZES = ((4, 24), (1, 5), (2, 24), (1, 24))  # (devices, segments of a batch)


@pytest.fixture(scope="module", params=[SIZES[:2], pytest.param(SIZES, marks=pytest.mark.slow)], ids=["two", "four"])
def extractors(request):
    """Opens one network on several numbers of devices, in several sizes of batch."""
    opened = {}
    for n_devices, batch_size in request.param:
        with pytest.MonkeyPatch.context() as patch:
            some = jax.local_devices()[:n_devices]
            patch.setattr(jax, "local_devices", lambda some=some: some)
            opened[n_devices, batch_size] = networks.extractor(networks.few_blocks(), batch_size=batch_size)
    return opened


def test_a_fingerprint_depends_on_nothing_but_its_segment(extractors):
    waveforms = noise(24 * SEGMENT).reshape(24, SEGMENT)
    expected = extractors[4, 24](waveforms)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, atol=TOLERANCE)
    assert np.abs(expected[0] - expected[1]).max() > 0.05  # They differ where the audio does.
    for extractor in extractors.values():
        np.testing.assert_allclose(extractor(waveforms), expected, atol=TOLERANCE)
        np.testing.assert_allclose(extractor(waveforms[3:4]), expected[3:4], atol=TOLERANCE)


def test_one_program_gives_the_same_bits_wherever_in_the_batch(extractors):
    waveforms = noise(24 * SEGMENT).reshape(24, SEGMENT)
    order = np.random.default_rng(1).permutation(24)
    for extractor in extractors.values():
        expected = extractor(waveforms)
        np.testing.assert_array_equal(extractor(waveforms[order]), expected[order])
        np.testing.assert_array_equal(extractor(waveforms[7:9]), expected[7:9])


def test_streamed_in_blocks_equals_whole(extractors, tracks):
    for extractor in extractors.values():
        streamed = vectors(tracks, extractor)
        for track, rows in zip(tracks, streamed):
            whole = extractor.track(np.concatenate(list(track.blocks())))
            np.testing.assert_array_equal(rows, whole)


def test_devices_and_batches_change_no_fingerprint(extractors, tracks):
    results = [vectors(tracks, extractor) for extractor in extractors.values()]
    for result in results[1:]:
        for rows, expected in zip(result, results[0]):
            np.testing.assert_allclose(rows, expected, atol=TOLERANCE)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_neither_order_nor_content(tracks, threads):
    outcomes = list(stream.fingerprints(tracks, Ears(), threads=threads))
    assert [outcome.name for outcome in outcomes] == [track.name for track in tracks]
    for track, outcome in zip(tracks, outcomes):
        starts = np.concatenate(list(track.blocks()))[::HOP]
        np.testing.assert_array_equal(outcome.vectors[:, 0], starts[: len(outcome.vectors)])
        assert outcome.seconds == track.seconds


@pytest.mark.parametrize("block", [1000, SEGMENT, SEGMENT + 1, 10**6])
def test_the_size_of_blocks_changes_nothing(block):
    samples = noise(50001)
    (rows,) = vectors([source(samples, block=block)], Ears())
    np.testing.assert_array_equal(rows[:, 0], samples[: 50001 - SEGMENT + 1 : HOP])


def test_batches_are_filled_across_tracks():
    ears = Ears()
    list(stream.fingerprints([source(noise(SEGMENT), name=str(i)) for i in range(20)], ears))
    assert ears.batches == 3


def test_no_tracks_give_nothing():
    assert list(stream.fingerprints([], Ears())) == []


def test_a_track_without_fingerprints_says_why_and_spoils_no_other():
    good = source(noise(30000), name="good")
    bad = [
        source(noise(7999), name="short"),
        source(noise(0), name="none"),
        broken(0, errors.Undecodable("broken", "no audio at all")),
        broken(5, errors.Undecodable("broken", "NaN in second 5"), name="late"),
        source(np.full(SEGMENT, np.inf, np.float32), name="absurd"),
    ]
    outcomes = list(stream.fingerprints([good, *bad, good], Ears()))
    reasons = {outcome.name: outcome.reason for outcome in outcomes}
    assert "1.00 s, shorter" in reasons["short"]
    assert "0.00 s, shorter" in reasons["none"]
    assert reasons["broken"] == "no audio at all"
    assert reasons["late"] == "NaN in second 5"
    assert "not finite" in reasons["absurd"]
    assert [len(outcome.vectors) for outcome in outcomes] == [6, 0, 0, 0, 0, 0, 6]
    np.testing.assert_array_equal(outcomes[0].vectors, outcomes[-1].vectors)


def test_damage_is_told_with_its_own_track():
    def damaged():
        yield noise(SEGMENT)
        decode.listener("damaged")("cut off at 1.0 s")  # As the decoder itself says it.

    tracks = [source(noise(SEGMENT)), corpus.Source("damaged", 9.0, damaged)] * 3
    outcomes = list(stream.fingerprints(tracks, Ears(), threads=3))
    assert [outcome.damage for outcome in outcomes] == ["", "cut off at 1.0 s"] * 3


def test_listening_for_damage_changes_no_logger(caplog):
    log = logging.getLogger(decode.__name__)
    before = log.level, log.propagate, list(log.handlers), list(log.filters)
    outcomes = stream.fingerprints([source(noise(50000))] * 3, Ears())
    next(outcomes)
    assert (log.level, log.propagate, list(log.handlers), list(log.filters)) == before
    decode.listener("another.wav")("is damaged")  # Decoded by somebody else meanwhile.
    assert "another.wav: is damaged" in caplog.text


def test_a_defect_in_a_thread_is_raised_here():
    tracks = [source(noise(30000)), broken(3, OSError("disk on fire"))]
    with pytest.raises(OSError, match="disk on fire"):
        list(stream.fingerprints(tracks, Ears()))


def test_decoding_runs_ahead_only_so_far():
    decoded = []

    def endless():
        while True:
            decoded.append(1)
            yield noise(SEGMENT)

    class Busy(Ears):
        def start(self, waveforms):
            if self.batches == 3:
                time.sleep(0.3)  # Time enough to decode thousands.
                raise InterruptedError
            return super().start(waveforms)

    ears = Busy()
    with pytest.raises(InterruptedError):
        list(stream.fingerprints([corpus.Source("endless", 0.0, endless)] * 3, ears, threads=2))
    in_batches = (3 + 1 + 4 + 1) * ears.batch_size  # Computed, computing, waiting, being filled.
    assert len(decoded) < in_batches + 2 * (4 + 2)
    names = {thread.name for thread in threading.enumerate()}
    for _ in range(50):
        if "nafp decode" not in names:
            break
        time.sleep(0.1)
        names = {thread.name for thread in threading.enumerate()}
    assert "nafp decode" not in names  # And ends when nobody listens any more.
