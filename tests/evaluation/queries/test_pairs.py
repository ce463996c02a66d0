"""Static training sets: what lies side by side belongs together, and trains as online sound does."""

import csv
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

from evaluation.queries import material, pairs
from nafp import config as config_lib
from nafp import errors
from nafp.audio import decode
from nafp.corpora import manifest
from nafp.corpora import static_pairs as stored
from nafp.training import augment, data, loop
from tests import networks, tunes

RATE_HZ = 8000
TINY = {
    **networks.FEW_BLOCKS,
    "spectrogram.n_mels": 32,
    "augment.context_s": 0.2,
    "optimizer.learning_rate": 1e-2,
    "train.batch_size": 16,
    "train.steps": 6,
    "train.steps_per_epoch": 3,
    "checkpoint.every_steps": 2,
    "validate.tracks": 2,
    "validate.lengths": (1, 3),
    "data.read_threads": 2,
}
SETTINGS: dict[str, Any] = {"splits": ("train", "val"), "variants": 3, "seconds": 2.5, "seed": 1}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> material.Material:
    """Writes five tracks, one at another rate, and a noise, a room and a microphone for each split."""
    folder, rows = tmp_path_factory.mktemp("source"), []

    def add(name, samples, kind, split, rate=RATE_HZ):
        path = tunes.write(folder / f"{name}-{split}.wav", samples, rate)
        rows.append(manifest.Track(str(path), kind=kind, split=split))

    for i in range(5):
        rate = 11025 if i == 1 else RATE_HZ
        tune = tunes.tune(6.3 + i, sample_rate_hz=rate, seed=i)
        add(f"track{i}", tune, "music", "val" if i > 2 else "train", rate)
    for split in ("train", "val"):
        rng = np.random.default_rng(len(split))
        add("noise", rng.normal(size=30000) / 10, "noise", split)
        decay = np.exp(-np.arange(900) / 150) * rng.normal(size=900) / 5
        add("room", np.r_[0.9, decay], "room", split)
        add("mic", np.exp(-np.arange(80) / 9.0), "microphone", split)
    manifest.write(folder / "tracks.csv", rows)
    return material.Material(folder / "tracks.csv")


@pytest.fixture(scope="module")
def rendered(source, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("rendered") / "pairs"
    pairs.render(source, source, out, **SETTINGS)
    return out


def bytes_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def config(rendered, **changes):
    c = config_lib.default()
    with c.unlocked():
        c.update_from_flattened_dict({**TINY, "data.pairs": str(rendered), **changes})
    return c


def test_the_clean_side_is_the_recordings(source, rendered):
    static = stored.Pairs(rendered).corpus
    assert {track.split for track in static.tracks} == {"train", "val"}
    for track in static.tracks:
        whole = decode.load(track.path, sample_rate_hz=RATE_HZ)
        assert abs(track.n_samples - len(whole)) <= 1
        clean = decode.to_float(static.audio(track))
        error = clean[: len(whole)] - whole[: len(clean)]
        assert np.abs(error).max() < 2e-3  # The edges of a resampler, where parts meet.


def test_every_variant_is_the_clean_side_changed(rendered):
    static = stored.Pairs(rendered)
    assert len(static.variants) == 3
    for track in static.corpus.tracks:
        here = slice(track.first_sample, track.first_sample + track.n_samples)
        versions = [static.corpus.samples[here], *(v[here] for v in static.variants)]
        for i, one in enumerate(versions):
            for other in versions[:i]:
                assert np.abs(one.astype(int) - other).max() > 300


def test_what_happened_is_written_down(rendered):
    with open(rendered / stored.DETAILS, newline="") as file:
        lines = list(csv.DictReader(file))
    tracks = stored.Pairs(rendered).corpus.tracks
    stretches = sum(int(np.ceil((t.n_samples / RATE_HZ - 1) / 2.5)) for t in tracks)
    assert len(lines) == 3 * stretches
    assert {line["condition"] for line in lines} == set(pairs.CONDITIONS)
    for line in lines:
        assert 0 <= float(line["snr"]) <= 10
        split = "val" if "val" in line["track"] else "train"
        assert line["noise"].endswith(split)


def test_the_ratio_of_a_stretch_is_the_ratio_drawn(source, tmp_path):
    pairs.render(source, source, tmp_path, names=["n-3~9"], splits=["train"], variants=1, seconds=2)
    static = stored.Pairs(tmp_path)
    tracks = {track.path: track for track in static.corpus.tracks}
    with open(tmp_path / stored.DETAILS, newline="") as file:
        lines = [line for line in csv.DictReader(file) if "track1" not in line["track"]]
    for line in lines:  # Only whole parts of recordings that are not resampled.
        track, first = tracks[line["track"]], round(float(line["start_s"]) * RATE_HZ)
        here = slice(track.first_sample + first, track.first_sample + first + 2 * RATE_HZ)
        clean, noisy = (side[here].astype(float) for side in (static.corpus.samples, static.variants[0]))
        if first + 3 * RATE_HZ > track.n_samples or np.abs(noisy).max() >= 32767:
            continue
        ratio = np.square(clean).mean() / np.square(noisy - clean).mean()
        assert 10 * np.log10(ratio) == pytest.approx(float(line["snr"]), abs=0.05)


@pytest.mark.parametrize("n", [0, 4, 9])
def test_interrupted_anywhere_the_bytes_are_the_same(source, rendered, tmp_path, monkeypatch, n):
    real, count = pairs.rendered_part, []

    def stop(*args):
        count.append(1)
        if len(count) > n:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(pairs, "rendered_part", stop)
        with pytest.raises(KeyboardInterrupt):
            pairs.render(source, source, tmp_path / "torn", jobs=1, **SETTINGS)
    with pytest.raises(ValueError, match="not rendered to their end"):
        stored.Pairs(tmp_path / "torn")
    for name in ("samples.i16", "variant01.i16"):
        with open(tmp_path / "torn" / name, "ab") as file:
            file.write(b"what a kill left behind")
    with open(tmp_path / "torn" / stored.JOURNAL, "a") as journal:
        journal.write('{"number": 3, "pa')
    pairs.render(source, source, tmp_path / "torn", **SETTINGS)
    assert bytes_of(tmp_path / "torn") == bytes_of(rendered)


def test_a_finished_set_is_left_alone_and_other_settings_are_refused(source, rendered):
    there = bytes_of(rendered)
    pairs.render(source, source, rendered, **SETTINGS)
    with pytest.raises(FileExistsError, match="variants: 3, now 4"):
        pairs.render(source, source, rendered, **{**SETTINGS, "variants": 4})
    assert bytes_of(rendered) == there


def test_what_cannot_be_is_said_before_any_work(source, tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"names": ["speed+4"]}, "moves rows in time"),
        ({"splits": ["trian"]}, "no noise of split trian|no microphone of split trian"),
        ({"variants": 0}, "at least 1"),
    ]
    for settings, match in cases:
        with pytest.raises(ValueError, match=match):
            pairs.render(source, source, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="other files"):
        pairs.render(source, source, tmp_path, **SETTINGS)


def test_every_split_may_take_the_noise_of_one_split(source, tmp_path):
    settings = {**SETTINGS, "variants": 1, "count": 1}
    pairs.render(source, source, tmp_path / "pairs", noise_split="train", **settings)
    with open(tmp_path / "pairs" / stored.DETAILS, newline="") as file:
        assert all(line["noise"].endswith("train") for line in csv.DictReader(file))


def test_a_split_without_noise_of_its_own_takes_that_of_the_first(source, tmp_path, caplog):
    rows = [row for row in manifest.read(source.path) if (row.kind, row.split) != ("noise", "val")]
    manifest.write(tmp_path / "tracks.csv", rows)
    other = material.Material(tmp_path / "tracks.csv")
    pairs.render(other, other, tmp_path / "out", **SETTINGS)
    assert any("no noise of split val: takes those of train" in line for line in caplog.messages)
    with open(tmp_path / "out" / stored.DETAILS, newline="") as file:
        lines = [line for line in csv.DictReader(file) if "val" in line["track"]]
    assert {line["noise"] for line in lines} == {"noise-train"}


def test_a_bad_recording_is_named_and_the_rest_is_there(source, tmp_path, caplog):
    rows = manifest.read(source.path)
    whole, cut = tmp_path / "bad.wav", tmp_path / "cut.wav"
    for path in (whole, cut):
        tunes.write(path, tunes.tune(8, sample_rate_hz=RATE_HZ, seed=9), RATE_HZ)
        rows.append(manifest.Track(str(path), 8.0, RATE_HZ, 1, "music", "train"))
    manifest.write(tmp_path / "tracks.csv", rows)
    other = material.Material(tmp_path / "tracks.csv")
    whole.write_bytes(b"RIFF, and nothing more")
    cut.write_bytes(cut.read_bytes()[:50000])
    pairs.render(other, other, tmp_path / "out", **SETTINGS)
    made = stored.Pairs(tmp_path / "out").corpus
    assert len(made.tracks) == 6
    assert [failure.path for failure in made.failures] == [str(whole)]
    assert [damaged.path for damaged in made.damaged] == [str(cut)]
    assert any("bad.wav" in line for line in caplog.messages)


def test_replicas_come_from_a_variant_that_the_position_draws(rendered):
    c = config(rendered)
    opened = data.open_data(c, augment.settings(audio=c.audio, augment=c.augment))
    static, batch = stored.Pairs(rendered), next(opened.stream)
    drawn = []
    for clip, degraded in zip(batch["clip"], batch["degraded"], strict=True):
        middle = slice(6000, 7000)
        place = _find(static.corpus.samples, clip[middle])
        there = [variant[place : place + 1000] for variant in static.variants]
        drawn.append([np.array_equal(degraded[middle], each) for each in there].index(True))
    assert len(set(drawn)) > 1
    assert opened.examples is not None
    assert "degraded" in opened.examples.batches[0]


def _find(samples: np.ndarray, piece: np.ndarray) -> int:
    """Returns the place of a piece, -1 for none."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, 8)
    for place in np.flatnonzero((windows == piece[:8]).all(axis=1)).tolist():
        if np.array_equal(samples[place : place + len(piece)], piece):
            return place
    return -1


def test_a_replica_of_a_static_pair_is_cut_not_degraded_again(rendered):
    c = config(rendered, **{"augment.offset_s": 0.0})
    cut = augment.settings(audio=c.audio, augment=c.augment)
    rng = np.random.default_rng(0)
    length = cut.context + cut.segment + 2 * cut.margin
    clips, degraded = rng.normal(size=(2, 4, length)).astype("f4")
    keys = jax.random.split(jax.random.key(0), 4)
    anchors, replicas = augment.pairs(cut, keys, clips, {}, None, None, degraded)
    here = slice(cut.context + cut.margin, cut.context + cut.margin + cut.segment)
    np.testing.assert_array_equal(anchors, clips[:, here])
    np.testing.assert_array_equal(replicas, degraded[:, here])


def losses(run: pathlib.Path) -> dict[int, str]:
    lines = (run / "losses.jsonl").read_text().splitlines()
    return {entry["step"]: entry["hex"] for entry in map(json.loads, lines)}


def test_a_restored_stream_draws_the_same_variants(rendered):
    c = config(rendered)
    cut = augment.settings(audio=c.audio, augment=c.augment)
    running, fresh = (data.open_data(c, cut).stream for _ in range(2))
    next(running)
    state = running.get_state()
    expected = [next(running) for _ in range(3)]
    fresh.set_state(state)
    for batch in expected:
        again = next(fresh)
        assert all(np.array_equal(batch[name], again[name]) for name in batch)


@pytest.mark.slow
def test_training_from_pairs_resumes_to_the_bit(rendered, tmp_path):
    """The fast test is test_a_restored_stream_draws_the_same_variants."""
    c = config(rendered)
    loop.train(c, str(tmp_path))
    whole = losses(tmp_path)
    (tmp_path / "losses.jsonl").unlink()
    loop.train(c, str(tmp_path), resume_from=3)
    again = losses(tmp_path)
    assert sorted(again) == [4, 5, 6]
    assert again == {step: whole[step] for step in again}


def test_pairs_of_another_rate_are_refused(rendered):
    c = config(rendered, **{"audio.sample_rate_hz": 16000})
    with pytest.raises(ValueError, match="was built at 8000 Hz"):
        data.open_data(c, augment.settings(audio=c.audio, augment=c.augment))


def test_clips_are_whole_stretches_clean_and_degraded_and_the_same_again(source):
    total, clips = pairs.clips(source, source, split="train", variants=3, seconds=2.5, seed=1)
    made = list(clips)
    assert len(made) == total == 2 + 2 + 3  # Tracks of 6.3, 7.3 and 8.3 s.
    assert [clip.start_s for clip in made] == [0.0, 2.5, 0.0, 2.5, 0.0, 2.5, 5.0]
    for clip in made:
        assert clip.samples.shape == (4, 20000)
        assert not clip.failure
        assert all(np.any(version != clip.samples[0]) for version in clip.samples[1:])
    again = list(pairs.clips(source, source, split="train", variants=3, seconds=2.5, seed=1, jobs=1)[1])
    np.testing.assert_array_equal(made[4].samples, again[4].samples)


def test_clips_can_be_drawn_spread_and_left_out(source):
    settings: dict[str, Any] = {"split": "train", "variants": 1, "seconds": 2.0, "seed": 1}
    total, clips = pairs.clips(source, source, **settings, per_track=1)
    first = [(clip.track, clip.start_s) for clip in clips]
    assert [start_s for _, start_s in first] == [2.0, 2.0, 4.0]
    total, clips = pairs.clips(source, source, **settings, per_track=1, done=first[:2])
    assert (total, [(clip.track, clip.start_s) for clip in clips]) == (3, first[2:])
    total, clips = pairs.clips(source, source, **settings, count=2)
    assert total == len(list(clips)) == 2
    with pytest.raises(errors.Invalid, match="no music of split train is as long as 60 s"):
        pairs.clips(source, source, split="train", seconds=60)
