"""Laws of the input stream, on the recordings that ship with the repository."""

import numpy as np
import pytest

from nafp.corpora import corpus
from nafp.training import order, pipeline

SEGMENT, HOP, CONTEXT, MARGIN = 8000, 4000, 8000, 3200


@pytest.fixture(scope="module")
def recordings(shipped_corpus):
    return corpus.Corpus.open(str(shipped_corpus))


@pytest.fixture(scope="module")
def listed(recordings):
    return pipeline.windows(recordings, split="train", segment=SEGMENT, hop=HOP, silence_db=-60.0)


def reader(recordings, listed, **changes):
    noise = pipeline.noise_source(
        recordings, kind="noise", split="train", n_samples=CONTEXT + SEGMENT, silence_db=-60.0
    )
    settings = dict(segment=SEGMENT, context=CONTEXT, margin=MARGIN, seed=3, added={"noise": noise})
    return pipeline.ClipReader(recordings, listed, **{**settings, **changes})


def stream(recordings, listed, **changes):
    settings = dict(seed=5, pairs=8, read_threads=2, prefetch=2)
    return pipeline.batches(len(listed.start), reader(recordings, listed), **{**settings, **changes})


def take(iterator, n):
    return [next(iterator) for _ in range(n)]


def same(left, right):
    return all(np.array_equal(a[k], b[k]) for a, b in zip(left, right) for k in a)


def test_windows_are_audible_segments_of_their_split(recordings, listed):
    tracks = [recordings.tracks[i] for i in np.unique(listed.track)]
    assert {(t.kind, t.split) for t in tracks} == {("music", "train")}
    for start, track in zip(listed.start[::37], listed.track[::37]):
        t = recordings.tracks[track]
        assert t.first_sample <= start
        assert start + SEGMENT <= t.first_sample + t.n_samples
        window = recordings.samples[start : start + SEGMENT].astype(np.float64)
        assert 20 * np.log10(np.sqrt(np.mean(window**2)) / 32768) > -60.5


def test_a_split_that_is_not_there_is_said_with_what_is(recordings):
    with pytest.raises(ValueError, match=r"no music in split 'trian'.*music train"):
        pipeline.windows(recordings, split="trian", segment=SEGMENT, hop=HOP, silence_db=-60.0)


def test_a_clip_is_the_track_around_its_window(recordings, listed):
    read = reader(recordings, listed)
    start, track = int(listed.start[20]), int(listed.track[20])
    t = recordings.tracks[track]
    assert start - CONTEXT - MARGIN >= t.first_sample
    clip = read.clip(start, track)
    expected = recordings.samples[start - CONTEXT - MARGIN : start + SEGMENT + MARGIN]
    np.testing.assert_array_equal(clip, expected)


def test_a_clip_never_holds_another_track(recordings, listed):
    read = reader(recordings, listed)
    n_samples = CONTEXT + SEGMENT + 2 * MARGIN
    for track in np.unique(listed.track):
        t = recordings.tracks[track]
        first, last = t.first_sample, t.first_sample + t.n_samples - SEGMENT
        for start in (first, last):
            clip = read.clip(int(start), int(track))
            assert len(clip) == n_samples
            audio = recordings.audio(t)
            if start == first:
                np.testing.assert_array_equal(clip[:CONTEXT], 0)  # Nothing was before it.
                np.testing.assert_array_equal(clip[CONTEXT:], audio[: SEGMENT + 2 * MARGIN])
            else:
                np.testing.assert_array_equal(clip, audio[-n_samples:])


def test_every_epoch_has_every_window_once_in_its_own_order(recordings, listed):
    few = pipeline.TrainingWindows(listed.start[:24], listed.track[:24])
    batches = take(stream(recordings, few), 6)
    clips = [b["clip"].tobytes() for batch in batches for b in ({"clip": c} for c in batch["clip"])]
    first, second = clips[:24], clips[24:]
    assert sorted(first) == sorted(second)
    assert first != second


def test_noise_is_drawn_anew_every_epoch(recordings, listed):
    few = pipeline.TrainingWindows(listed.start[:8], listed.track[:8])
    first, second = take(stream(recordings, few), 2)
    assert not {n.tobytes() for n in first["noise"]} & {n.tobytes() for n in second["noise"]}
    assert (np.abs(first["noise"].astype(int)).mean(axis=1) > 0).all()


def test_songs_are_music_of_their_split(recordings, listed):
    song = pipeline.noise_source(recordings, kind="music", split="train", n_samples=SEGMENT, silence_db=-60.0)
    music = recordings.select(kind="music", split="train")
    whole = np.concatenate([recordings.audio(t) for t in music]).tobytes()
    for batch in take(stream(recordings, listed), 1):
        assert "song" not in batch
    read = reader(recordings, listed, added={"song": song})
    drawn = [read(position, 3)["song"] for position in range(4)]
    assert all(clip.tobytes() in whole for clip in drawn)
    assert len({clip.tobytes() for clip in drawn}) == 4


def test_the_stream_follows_from_the_seed_and_not_from_threads(recordings, listed):
    one = take(stream(recordings, listed, read_threads=1), 4)
    assert same(one, take(stream(recordings, listed, read_threads=4), 4))
    assert not same(one, take(stream(recordings, listed, seed=6), 4))


def test_hosts_share_each_global_batch(recordings, listed):
    whole = take(stream(recordings, listed), 3)
    hosts = [take(stream(recordings, listed, host=h, hosts=2), 3) for h in (0, 1)]
    for i, batch in enumerate(whole):
        together = {n for h in (0, 1) for n in hosts[h][i]["position"].tolist()}
        assert together == set(batch["position"].tolist())
        for h in (0, 1):
            for position, noise in zip(hosts[h][i]["position"], hosts[h][i]["noise"]):
                at = batch["position"].tolist().index(position)
                np.testing.assert_array_equal(noise, batch["noise"][at])


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("on_device", [False, True])
def test_a_device_has_the_same_pairs_on_any_number_of_hosts(recordings, listed, hosts, on_device):
    """Four devices, on one host or on several: each has the same part of every global batch, from any step on."""

    def of_devices(n_hosts, step):
        shares = []
        for host in range(n_hosts):
            place = dict(host=host, hosts=n_hosts)
            if on_device:
                opened = pipeline.numbers(len(listed.start), seed=5, pairs=8, **place)
            else:
                opened = stream(recordings, listed, **place)
            pipeline.go_to(opened, step)
            shares.append(take(opened, 2))
        batches = [
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in zip(*shares)
        ]
        return [{name: x.reshape(4, 2, *x.shape[1:]) for name, x in batch.items()} for batch in batches]

    assert same(of_devices(hosts, 3), of_devices(1, 3))
    assert not same(of_devices(hosts, 3), of_devices(1, 2))


def test_a_restored_stream_goes_on_as_if_nothing_had_happened(recordings, listed):
    running = stream(recordings, listed)
    take(running, 3)
    state = running.get_state()
    expected = take(running, 3)
    fresh = stream(recordings, listed)
    fresh.set_state(state)
    assert same(take(fresh, 3), expected)


def test_a_batch_that_hosts_cannot_share_is_refused(recordings, listed):
    with pytest.raises(ValueError, match="8 pairs does not divide among 3 hosts"):
        stream(recordings, listed, hosts=3)


TRACK = np.repeat(np.arange(20), 7)


def drawn(order_of, n):
    """Returns the first n windows that both pipelines draw in an order, on one host and on two."""
    numbers = dict(seed=0, pairs=4, order=order_of)
    one = np.concatenate([b["window"] for b in take(pipeline.numbers(len(TRACK), **numbers), n // 4)])
    hosts = [take(pipeline.numbers(len(TRACK), host=h, hosts=2, **numbers), n // 4) for h in (0, 1)]
    together = np.concatenate([share["window"] for shares in zip(*hosts) for share in shares])
    np.testing.assert_array_equal(one, together)
    return one


def test_in_two_stages_each_chunk_of_tracks_is_finished_before_the_next():
    made = order.in_two_stages(TRACK, tracks=5, seed=3)
    first, second = drawn(made, 280).reshape(2, 140)
    assert sorted(first) == sorted(second) == list(range(140))
    for epoch in (first, second):
        chunks = TRACK[epoch].reshape(4, 35)
        assert [len(set(chunk)) for chunk in chunks.tolist()] == [5] * 4
        assert all((np.diff(chunk) != 0).mean() > 0.5 for chunk in chunks)  # Shuffled within.
    assert set(TRACK[first[:35]]) != set(TRACK[second[:35]])


def test_an_epoch_may_have_one_window_of_each_track_drawn_anew():
    made = order.one_of_each(TRACK, seed=3)
    assert made.length == 20
    first, second = drawn(made, 40).reshape(2, 20)
    for epoch in (first, second):
        assert sorted(TRACK[epoch]) == list(range(20))
    assert sorted(first) != sorted(second)


def test_clips_follow_an_order_and_go_on_where_they_stood(recordings, listed):
    made = order.one_of_each(listed.track, seed=1)
    running = stream(recordings, listed, order=made)
    windows = pipeline.numbers(len(listed.start), seed=5, pairs=8, order=made)
    for clips, few in zip(take(running, 3), take(windows, 3)):
        np.testing.assert_array_equal(clips["track"], listed.track[few["window"]])
    state, expected = running.get_state(), take(running, 2)
    fresh = stream(recordings, listed, order=order.one_of_each(listed.track, seed=1))
    fresh.set_state(state)
    assert same(take(fresh, 2), expected)


def test_each_replica_has_noise_of_its_own_and_the_first_is_that_of_a_single_one(recordings, listed):
    one, three = reader(recordings, listed)(9, 4), reader(recordings, listed, replicas=3)(9, 4)
    np.testing.assert_array_equal(one["clip"], three["clip"])
    np.testing.assert_array_equal(one["noise"], three["noise"][0])
    assert len({noise.tobytes() for noise in three["noise"]}) == 3
