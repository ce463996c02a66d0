"""An answer that names the very same sound elsewhere is right. One that only resembles it is not."""

import csv
import pathlib

import numpy as np
import pytest

from benchmarks import classical
from evaluation.scores import evaluate, repeats, speeds
from nafp.audio import decode
from tests.databases import unit
from tests.stores import write

RECORDINGS = pathlib.Path(__file__).parents[2] / "recordings" / "music"
RATE_HZ, OTHER_RATE_HZ = 8000, 11025
PASSAGE_S, INTO_S = 7.3, 5.4321  # Where the passage begins in the recording, and in the medley.


def cut(name, *, start_s, seconds, rate_hz):
    return decode.load(RECORDINGS / name, sample_rate_hz=rate_hz, start_s=start_s, seconds=seconds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Writes two recordings and a medley. The medley has 8 s of the first, softer and at another sample rate."""
    found = tmp_path_factory.mktemp("sound")
    for name in ("driving", "greecei"):
        samples = cut(f"{name}.opus", start_s=0, seconds=25, rate_hz=RATE_HZ)
        decode.write_wav(found / f"{name}.wav", samples, sample_rate_hz=RATE_HZ)
    before = cut("tuxi.opus", start_s=0, seconds=INTO_S, rate_hz=OTHER_RATE_HZ)
    passage = cut("driving.opus", start_s=PASSAGE_S, seconds=8, rate_hz=OTHER_RATE_HZ)
    after = cut("tuxi.opus", start_s=9, seconds=6, rate_hz=OTHER_RATE_HZ)
    medley = np.concatenate([before, -0.4 * passage, after])
    decode.write_wav(found / "medley.wav", medley, sample_rate_hz=OTHER_RATE_HZ)
    silence = np.zeros(20 * RATE_HZ, np.float32)
    decode.write_wav(found / "silence.wav", silence, sample_rate_hz=RATE_HZ)
    return found


@pytest.fixture(scope="module")
def sound(folder):
    return repeats.Sound([folder])


def alike_slowly(asked, there):
    """Correlates a stretch with the other at every sample, one after the other."""
    n = len(asked)
    found = [
        abs(there[lag : lag + n] @ asked) / np.linalg.norm(asked) / np.linalg.norm(there[lag : lag + n])
        for lag in range(len(there) - n + 1)
    ]
    return max(found), int(np.argmax(found))


def test_the_correlation_is_that_of_laying_one_over_the_other_everywhere():
    random = np.random.default_rng(0)
    there = random.standard_normal(300)
    for asked in (there[70:170].copy(), random.standard_normal(100)):
        likeness, lag = repeats._alike(asked, there)
        expected, at = alike_slowly(asked, there)
        assert likeness == pytest.approx(expected, abs=0.005)  # `_alike` also tries lags between samples.
        assert lag == pytest.approx(at, abs=0.125)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 7.0])
@pytest.mark.parametrize("off_s", [-0.4, -0.1, 0.0, 0.3])
def test_the_same_passage_is_heard_softer_inverted_and_between_samples(sound, seconds, off_s):
    right = repeats.TrackPlace("driving.wav", PASSAGE_S + 0.5)
    other = repeats.TrackPlace("medley.wav", INTO_S + 0.5 + off_s)
    assert sound.away_s(right, other, seconds=seconds) == pytest.approx(abs(off_s), abs=0.002)


def test_a_passage_that_goes_on_differently_is_another_one(sound):
    right, other = repeats.TrackPlace("driving", PASSAGE_S), repeats.TrackPlace("medley", INTO_S)
    assert sound.away_s(right, other, seconds=7) is not None
    assert sound.away_s(right, other, seconds=10) is None


def test_other_music_silence_the_missing_and_the_far_are_not_the_same(sound):
    right = repeats.TrackPlace("driving", PASSAGE_S)
    for other in (
        repeats.TrackPlace("greecei", 3.0),
        repeats.TrackPlace("driving", 15.0),
        repeats.TrackPlace("silence", 3.0),
        repeats.TrackPlace("nowhere", 3.0),
        repeats.TrackPlace("medley", INTO_S + 0.6),
        repeats.TrackPlace("medley", 400.0),
    ):
        assert sound.away_s(right, other, seconds=2) is None
    assert sound.away_s(repeats.TrackPlace("silence", 1.0), repeats.TrackPlace("silence", 9.0), seconds=2) is None


def test_a_broken_recording_repeats_nothing(folder, tmp_path):
    for name in ("driving", "medley"):
        (tmp_path / f"{name}.wav").write_bytes((folder / f"{name}.wav").read_bytes())
    sound = repeats.Sound([tmp_path])
    (tmp_path / "medley.wav").write_bytes(b"RIFF")
    right, other = repeats.TrackPlace("driving", PASSAGE_S), repeats.TrackPlace("medley", INTO_S)
    assert sound.away_s(right, other, seconds=2) is None


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Makes a clip of the passage that is found in the medley, and one that is found in other music."""
    folder = tmp_path_factory.mktemp("stores")
    tracks = {name: unit(30, seed=seed) for seed, name in enumerate(("driving", "greecei", "medley"))}
    write(folder, "db", tracks)
    found = {"passage": tracks["medley"][11:16], "mistaken": tracks["greecei"][11:16]}
    write(folder, "query", found)
    with open(folder / "expected.csv", "w", newline="") as file:
        truth = [[f"{name}.wav", "driving.wav", PASSAGE_S, 1] for name in found]
        csv.writer(file).writerows([["query", "answer", "time", "rate"], *truth])
    return folder


def asking(stores, out, **settings):
    return evaluate.Request(
        store=[str(stores)],
        out=str(out),
        truth=str(stores / "expected.csv"),
        lengths=[1, 5],
        show=False,
        **settings,
    )


def test_an_exact_repeat_counts_as_right_where_its_sound_was_given(stores, folder, tmp_path):
    strict = evaluate.run(asking(stores, tmp_path / "a"))
    heard = evaluate.run(asking(stores, tmp_path / "b", repeats=[str(folder)]))
    at_speeds = speeds.run(asking(stores, tmp_path / "c", repeats=[str(folder)]), queries=["query"])
    for length in ("1", "5"):
        assert strict["hit_rates"][length]["song"]["hits"] == 0
        for found in (heard, at_speeds):
            for metric in ("song", "near", "exact", "top3"):
                assert found["hit_rates"][length][metric]["hits"] == 1
            assert found["repeats"]["counted"][length] == 1
            assert found["repeats"]["other_track"][length] == 1
    assert strict["repeats"] is None
    assert "exact repeats" in (tmp_path / "b" / "table.md").read_text()


def test_sound_of_other_recordings_is_refused_before_work_starts(stores, tmp_path):
    with pytest.raises(ValueError, match="none of the recordings asked for, such as driving"):
        evaluate.run(asking(stores, tmp_path, repeats=[str(RECORDINGS.parent / "noise")]))
    with pytest.raises(ValueError, match="needs names of tracks"):
        evaluate.run(asking(stores, tmp_path, repeats=["x"], rows_per_track=3))


def test_the_classical_systems_are_judged_by_the_same_rule(sound):
    line = {"query": "q.wav", "answer": "driving.wav", "time": str(PASSAGE_S), "condition": "clean"}
    row = {"query": "q.wav", "length_s": "3", "track": "medley.wav", "cpu_ms": "1", "score": "1"}
    rows = [row | {"start_s": f"{INTO_S + 0.2:.3f}"}, row | {"start_s": "1.0"}]
    one, other = classical.with_repeats(rows, [line], sound)
    assert classical.cell([(one, line)])["within_half_a_second"] == 1
    assert float(one["start_s"]) == pytest.approx(PASSAGE_S + 0.2, abs=0.002)
    assert other == rows[1]
