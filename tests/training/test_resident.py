"""Laws of recordings that lie on the accelerator: the clips are those that a host reads."""

import functools

import jax
import numpy as np
import pytest

from nafp import config as config_lib
from nafp.corpora import corpus
from nafp.training import augment, data, pipeline, resident


@pytest.fixture(scope="module")
def recordings(shipped_corpus):
    return corpus.Corpus.open(str(shipped_corpus))


def settings(**changes):
    c = config_lib.default()
    with c.unlocked():
        c.augment.speed = 0.012
        c.update_from_flattened_dict(changes)
    return augment.settings(audio=c.audio, augment=c.augment)


@pytest.fixture(scope="module")
def listed(recordings):
    return pipeline.windows(recordings, split="train", segment=8000, hop=4000, silence_db=-60.0)


def laid(recordings, listed, s, *, sounds=None, kinds=("noise",)):
    return resident.load(s, recordings, listed, sounds or recordings, split="train", kinds=kinds, silence_db=-60.0)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def read(s, there, windows, *, of=None):
    batch = {
        "window": np.asarray(windows, np.int32),
        "position": np.arange(len(windows), dtype=np.uint32),
    }
    of = keys(len(windows)) if of is None else of
    return jax.tree.map(np.asarray, reader(s)(there, of, batch))


@functools.cache
def reader(s):
    return jax.jit(lambda there, k, b: resident.read(s, there, k, b))


@pytest.mark.parametrize("offset_s", [0.0, 0.25])
def test_clips_are_those_that_a_host_cuts(recordings, listed, offset_s):
    s = settings(**{"augment.offset_s": offset_s})
    by_host = pipeline.ClipReader(recordings, listed, segment=s.segment, context=s.context, margin=s.margin, seed=0)
    borders = np.flatnonzero(np.diff(listed.track))
    windows = np.unique(np.concatenate([borders, borders + 1, [0, len(listed.start) - 1], range(0, 400, 23)]))
    found = read(s, laid(recordings, listed, s), windows)
    for window, clip, track in zip(windows, found["clip"], found["track"]):
        expected = by_host(0, int(window))
        np.testing.assert_array_equal(clip, expected["clip"])
        assert track == expected["track"]


def test_noise_is_an_audible_stretch_of_a_recording_of_its_split(recordings, listed):
    s = settings()
    n = s.heard_samples
    found = read(s, laid(recordings, listed, s), np.zeros(40, int))
    sources = [recordings.audio(t).astype(np.int64) for t in recordings.select(kind="noise", split="train")]
    for clip in found["noise"].astype(np.int64):
        assert np.abs(clip).mean() >= 32768 * 10 ** (-60 / 20)
        assert any(occurs(clip, x, n) for x in sources)


def occurs(clip, recording, n):
    """Whether the clip is a stretch of the recording, or, where that is shorter, the recording over and over."""
    if len(recording) <= n:
        starts = [np.resize(np.roll(recording, -i), n) for i in np.flatnonzero(recording == clip[0])]
        return any(np.array_equal(clip, x) for x in starts)
    inside = recording[: len(recording) - n + 1]
    starts = np.flatnonzero((inside == clip[0]) & (recording[n - 1 :] == clip[-1]))
    return any(np.array_equal(clip, recording[i : i + n]) for i in starts)


class Made:
    """A corpus of made tracks, each of one value or silent: what is drawn says where from."""

    cell, sample_rate_hz = 4000, 8000

    def __init__(self, lengths, values):
        first = np.cumsum([0] + [-(-n // self.cell) * self.cell for n in lengths])
        self.samples = np.zeros(first[-1], np.int16)
        self.tracks = []
        for i, (n, value) in enumerate(zip(lengths, values)):
            self.samples[first[i] : first[i] + n] = value
            self.tracks.append(corpus.CorpusTrack(str(i), "noise", "train", "", int(first[i]), int(n)))

    def select(self, *, kind, split):
        return [t for t in self.tracks if t.kind == kind]

    def audio(self, track):
        return self.samples[track.first_sample : track.first_sample + track.n_samples]


def test_noise_is_drawn_by_length_and_quiet_recordings_hardly_ever(recordings, listed):
    s = settings(**{"audio.segment_s": 0.25, "augment.context_s": 0.25})
    sounds = Made([20_000, 60_000, 1_250, 80_000], [100, 300, 50, 0])
    there = laid(recordings, listed, s, sounds=sounds)
    drawn = read(s, there, np.zeros(2000, int))["noise"]
    assert (drawn == drawn[:, :1]).all()
    counts = {value: int((drawn[:, 0] == value).sum()) for value in (0, 50, 100, 300)}
    assert counts[0] < 10  # Half of all is silent: eight draws leave one in 256.
    assert 0.65 < counts[300] / (counts[300] + counts[100]) < 0.85
    assert 0 < counts[50] < 80


def test_a_song_to_mix_in_lies_there_once_and_is_music_of_its_split(recordings, listed):
    s = settings()
    kinds = ("noise", "song")
    there = laid(recordings, listed, s, kinds=kinds)
    assert len(there.samples) == len(laid(recordings, listed, s).samples)
    size = resident.n_bytes(recordings, listed, recordings, split="train", kinds=kinds)
    assert size + 2 * (s.clip_samples // recordings.cell + 2) * recordings.cell * 2 == there.samples.nbytes
    music = np.concatenate([recordings.audio(t) for t in recordings.select(kind="music", split="train")]).tobytes()
    for song in read(s, there, np.arange(8))["song"]:
        assert song.tobytes() in music


def test_tracks_of_two_corpora_are_not_taken_for_one_another(recordings, listed):
    of_music = recordings.tracks[int(listed.track[0])]
    sounds = Made([of_music.first_sample + of_music.n_samples], [7])
    sounds.tracks = [of_music]  # The same words, another sound.
    there = laid(recordings, listed, settings(), sounds=sounds, kinds=("song",))
    assert (read(settings(), there, np.zeros(4, int))["song"] == 7).all()


def test_what_a_pair_hears_depends_on_its_key_alone(recordings, listed):
    s = settings()
    there = jax.device_put(laid(recordings, listed, s))
    together = read(s, there, np.arange(8))
    alone = read(s, there, [5], of=keys(8)[5:6])
    np.testing.assert_array_equal(together["noise"][5], alone["noise"][0])
    assert not np.array_equal(together["noise"][4], together["noise"][5])


@pytest.mark.parametrize(
    "wanted, platform, share, lies",
    [
        ("auto", "gpu", 0.24, True),
        ("auto", "gpu", 0.26, False),
        ("auto", "cpu", 0.01, False),
        ("yes", "cpu", 0.9, True),
        ("no", "gpu", 0.01, False),
    ],
)
def test_auto_is_an_accelerator_with_room_for_four_times_as_much(
    recordings, listed, monkeypatch, wanted, platform, share, lies
):
    size = resident.n_bytes(recordings, listed, recordings, split="train", kinds=("noise", "speech"))
    device = type("Device", (), {"memory_stats": lambda self: {"bytes_limit": int(size / share)}})()
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert data.lies_on_device(wanted, size) == lies


def test_numbers_come_in_the_order_of_clips(recordings, listed):
    s = settings()
    by_host = pipeline.ClipReader(recordings, listed, segment=s.segment, context=s.context, margin=s.margin, seed=0)
    for host, hosts in ((0, 1), (1, 2)):
        order = dict(seed=5, pairs=16, host=host, hosts=hosts)
        clips = pipeline.batches(len(listed.start), by_host, read_threads=1, prefetch=8, **order)
        few = pipeline.numbers(len(listed.start), **order)
        for _ in range(1 + 2 * len(listed.start) // 16):
            expected, found = next(clips), next(few)
            np.testing.assert_array_equal(expected["position"], found["position"])
            np.testing.assert_array_equal(expected["track"], listed.track[found["window"]])


def test_numbers_go_on_where_they_stood(listed):
    order = dict(seed=5, pairs=16)
    stream = pipeline.numbers(len(listed.start), **order)
    [next(stream) for _ in range(7)]
    state = stream.get_state()
    expected = next(stream)
    again = pipeline.numbers(len(listed.start), **order)
    again.set_state(state)
    found = next(again)
    for name in expected:
        np.testing.assert_array_equal(expected[name], found[name])


def test_each_replica_has_noise_of_its_own_and_the_first_is_that_of_a_single_one(recordings, listed):
    one, three = settings(), settings(**{"augment.replicas": 3})
    there = laid(recordings, listed, one)
    single, several = read(one, there, np.arange(4)), read(three, there, np.arange(4))
    assert several["noise"].shape == (4, 3, one.heard_samples)
    np.testing.assert_array_equal(several["noise"][:, 0], single["noise"])
    assert not np.array_equal(several["noise"][:, 1], several["noise"][:, 2])
