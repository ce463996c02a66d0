"""Real music in, what is played out: mixed, sped up, in any blocks, and after an interruption."""

import json
import pathlib

import numpy as np
import pytest

from evaluation.queries import material, mixes
from evaluation.scores import monitored
from nafp.audio import decode
from nafp.identify import asking
from nafp.monitor import stretches
from nafp.search import collection, index, store
from tests import networks

MUSIC = pathlib.Path(__file__).parents[1] / "recordings" / "music"
RATE_HZ = 8000


@pytest.fixture(scope="module")
def network():
    return networks.small()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Renders a minute and a half of tracks, and one with unknown ones in it."""
    folder = tmp_path_factory.mktemp("mixes")
    source = material.Material(MUSIC)
    mixes.render(source, source, folder, styles=["crossfade", "unknown"], minutes=1.5, seed=3)
    return folder


@pytest.fixture(scope="module")
def opened(network, mixed):
    """Returns (rows, index) of the music that is played and of five other tracks, none of which is unknown."""
    unknown = {pathlib.Path(name).name for name in (mixed / mixes.UNKNOWN).read_text().split("\n")}
    played = {pathlib.Path(one.track).name for one in monitored.read(mixed / mixes.TRUTH, is_known=True)}
    known = [path for path in sorted(MUSIC.glob("*.opus")) if path.name not in unknown]
    others = [path for path in known if path.name not in played][:5]
    parts, tracks, first = [], [], 0
    for path in known:
        if path.name in played or path in others:
            samples = decode.load(path, sample_rate_hz=RATE_HZ)
            parts.append(network.track(samples))
            tracks.append(store.TrackRows(str(path), first, len(parts[-1]), len(samples) / RATE_HZ))
            first += len(parts[-1])
    rows = collection.Collection([np.concatenate(parts)], tracks)
    return rows, index.build(rows, index.plan("l2", n_rows=len(rows), dim=rows.dim))


def heard(network, opened, samples, *, block=24_000, speeds=(1.0,)):
    listener = stretches.Monitor(network, *opened, speeds=speeds)
    blocks = (samples[at : at + block] for at in range(0, len(samples), block))
    return list(stretches.watch(listener, blocks))


def scored(mixed, name, found):
    true = monitored.read(mixed / mixes.TRUTH, is_known=True)
    told = [monitored.PlayedStretch(name, one.track, one.start_s, one.end_s) for one in found if one.track]
    return monitored.seconds([one for one in true if one.recording == name], told)


@pytest.fixture(scope="module")
def crossfade(network, opened, mixed):
    """Returns the samples of tracks that cross-fade, and what is found in them."""
    samples = decode.load(mixed / "crossfade_0.wav", sample_rate_hz=RATE_HZ)
    return samples, heard(network, opened, samples)


def test_tracks_that_cross_fade_are_found_to_the_second(crossfade, mixed):
    score = scored(mixed, "crossfade_0.wav", crossfade[1])
    assert score.precision > 0.9
    assert score.recall > 0.8


def test_music_that_is_not_in_the_collection_is_unknown(network, opened, mixed):
    samples = decode.load(mixed / "unknown_0.wav", sample_rate_hz=RATE_HZ)
    found = heard(network, opened, samples)
    assert scored(mixed, "unknown_0.wav", found).precision > 0.9
    # Every second is said to be something, or unknown, but for short gaps.
    covered = sum(one.end_s - one.start_s for one in found)
    assert covered > len(samples) / RATE_HZ - stretches.SHORTEST_GAP_S * (len(found) + 1)


def test_blocks_of_any_size_give_the_same(network, opened, crossfade):
    samples = crossfade[0][: 50 * RATE_HZ]
    whole = heard(network, opened, samples, block=len(samples))
    for block in (5_001, 80_000):
        again = heard(network, opened, samples, block=block)
        assert [one.track for one in again] == [one.track for one in whole]
        for one, other in zip(again, whole):
            assert one[1:5] == pytest.approx(other[1:5], abs=0.05)


def test_an_interrupted_run_goes_on_where_it_was(network, opened, crossfade):
    samples, expected = crossfade
    at = 47 * RATE_HZ
    first = stretches.Monitor(network, *opened)
    found = first.hear(samples[:at])
    state = json.loads(json.dumps(first.state()))
    second = stretches.Monitor(network, *opened)
    second.restore(state)
    found += second.hear(samples[round(second.start_s * RATE_HZ) :]) + second.finish()
    assert [one.track for one in found] == [one.track for one in expected]
    for one, other in zip(found, expected):
        assert one[1:5] == pytest.approx(other[1:5], abs=0.05)


def test_changed_speed_is_found_and_said(network, opened):
    path = sorted(MUSIC.glob("*.opus"))[0]
    if str(path) not in opened[0].tracks:
        path = pathlib.Path(opened[0].tracks[0])
    samples = decode.load(path, sample_rate_hz=RATE_HZ)
    faster = decode.resample(samples, from_hz=103, to_hz=100)
    speeds = asking.speeds_within(0.03, tolerance=0.01)
    found = [one for one in heard(network, opened, faster, speeds=speeds) if one.track]
    assert [one.track for one in found] == [str(path)]
    assert found[0].speed == pytest.approx(1.03, abs=0.006)
    assert found[0].end_s - found[0].start_s > 0.8 * len(faster) / RATE_HZ


def test_silence_and_hiss_are_nothing(network, opened):
    hiss = 0.01 * np.random.default_rng(0).standard_normal(40 * RATE_HZ)
    for samples in (np.zeros(40 * RATE_HZ), hiss):
        found = heard(network, opened, samples.astype(np.float32))
        assert [(one.track, round(one.start_s)) for one in found] == [("", 0)]
        assert found[0].end_s == pytest.approx(40)


def test_less_than_a_segment_is_nothing(network, opened):
    assert heard(network, opened, np.ones(3000, np.float32)) == []


class Stub:
    """A network that says how loud it is, and an index that finds nothing."""

    sample_rate_hz, segment, hop, dim = 800, 800, 400, 16

    def __call__(self, waveforms):
        return np.ones((len(waveforms), self.dim), np.float32) / 4

    def search(self, queries, k=0):
        return np.zeros((len(queries), 2), np.float32), np.full((len(queries), 2), -1)


def test_hours_need_no_more_memory_than_minutes():
    vectors = np.ones((10, 16), np.float32) / 4
    rows = collection.Collection([vectors], [store.TrackRows("a", 0, 10, 5.5)])
    listener = stretches.Monitor(Stub(), rows, Stub(), speeds=(0.98, 1.0, 1.02))
    samples = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    sizes = []
    for _ in range(120):
        listener.hear(samples)
        ear = listener._ear
        held = sum(len(each) for each in [*ear._vectors.values(), *ear._near.values()])
        sizes.append(len(ear._samples) + 16 * held + len(json.dumps(listener.state())))
    assert max(sizes[60:]) <= max(sizes[:60])
