"""Long recordings are scored as counted by hand, and mixes are what their truth says."""

import itertools
import json

import numpy as np
import pytest

from evaluation.queries import material, mixes
from evaluation.scores import monitored
from nafp.audio import decode
from tests import tunes


def stretch(track, start_s, end_s, place_s=0.0, speed=1.0, recording="a.wav"):
    return monitored.PlayedStretch(recording, track, start_s, end_s, place_s, speed)


def test_the_truth_itself_is_perfect():
    true = [stretch("x", 0, 30), stretch("y", 25, 60), stretch("x", 70, 90)]
    assert monitored.seconds(true, true).f1 == 1
    found = monitored.pairs(true, true)
    assert (found.true, found.found, found.partners) == (3, 3, 3)
    assert not np.any([found.start_s, found.end_s, found.place_s, found.speed])


def test_seconds_are_counted_track_by_track():
    true = [stretch("x", 0, 30), stretch("y", 20, 60)]
    told = [stretch("x", 10, 40), stretch("z", 50, 60)]
    score = monitored.seconds(true, told)
    assert score == (20, 40, 70)
    assert (score.precision, score.recall) == (0.5, pytest.approx(20 / 70))
    assert score.f1 == pytest.approx(40 / 110)


def test_a_second_that_is_reported_twice_counts_once():
    true = [stretch("x", 0, 10)]
    assert monitored.seconds(true, [stretch("x", 0, 8), stretch("x", 4, 10)]) == (10, 10, 10)


def test_recordings_are_not_mixed_up():
    assert monitored.seconds([stretch("x", 0, 9)], [stretch("x", 0, 9, recording="b.wav")])[0] == 0


def test_nothing_reported_is_precise_and_misses_all():
    score = monitored.seconds([stretch("x", 0, 10)], [])
    assert (score.precision, score.recall, score.f1) == (1, 0, 0)


def test_scores_add_up():
    one = [stretch("x", 0, 30)], [stretch("x", 5, 30)]
    two = [stretch("x", 0, 30, recording="b")], [stretch("y", 0, 9, recording="b")]
    both = [a + b for a, b in zip(one, two)]
    assert monitored.seconds(*one) + monitored.seconds(*two) == monitored.seconds(*both)
    sums = monitored.pairs(*one) + monitored.pairs(*two)
    assert sums[:4] == monitored.pairs(*both)[:4] == (2, 2, 1, 1)


def test_pieces_together_find_a_stretch():
    true = [stretch("x", 0, 100)]
    assert monitored.pairs(true, [stretch("x", 0, 30), stretch("x", 60, 95)]).found == 1
    assert monitored.pairs(true, [stretch("x", 0, 30)]).found == 0


def test_errors_are_reported_less_true():
    found = monitored.pairs([stretch("x", 10, 60, 5.0, 1.02)], [stretch("x", 11, 58, 6.5, 1.03)])
    assert found.start_s == pytest.approx([1])
    assert found.end_s == pytest.approx([-2])
    assert found.speed == pytest.approx([1])
    assert found.place_s == pytest.approx([6.5 + 23.5 * 1.03 - (5 + 24.5 * 1.02)])


def test_reports_are_read_as_they_are_written(tmp_path):
    record = {"recording": "/x/a.wav", "track": "t", "start_s": 1.5, "end_s": 9.0}
    record |= {"track_start_s": 3.0, "speed": 1.01, "score": 0.5, "probability": None}
    nothing = {"recording": "/x/a.wav", "track": None, "start_s": 9.0, "end_s": 20.0}
    (tmp_path / "a.json").write_text(f"{json.dumps(record)}\n{json.dumps(nothing)}\n")
    (tmp_path / "a.csv").write_text(
        "recording,track,start_s,end_s,track_start_s,speed\n/x/a.wav,t,1.5,9.0,3.0,1.01\n/x/a.wav,,9,20,,\n"
    )
    expected = [stretch("t", 1.5, 9.0, 3.0, 1.01)]
    assert monitored.read(tmp_path / "a.json") == expected
    assert monitored.read(tmp_path / "a.csv") == expected


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracks")
    for i in range(6):
        samples = tunes.tune(40.0, sample_rate_hz=8000, seed=i)
        tunes.write(folder / f"{i}.wav", samples, 8000)
    return material.Material(folder)


def test_a_mix_holds_what_its_truth_says(source, tmp_path):
    rows = mixes.render(source, source, tmp_path, styles=["crossfade"], minutes=2, seed=1)
    mixed = decode.load(tmp_path / "crossfade_0.wav", sample_rate_hz=8000)
    assert len(mixed) / 8000 == pytest.approx(120, abs=0.1)
    for row in rows:
        at, place = (float(row[name]) for name in ("start_s", "track_start_s"))
        middle = (float(row["end_s"]) - at) / 2
        heard = mixed[round((at + middle) * 8000) :][:8000]
        track = decode.load(row["track"], sample_rate_hz=8000)
        first = round((place + middle) * 8000)
        near = (track[first + lag :][:8000] for lag in range(-9, 10))  # Times are in milliseconds.
        assert max(np.corrcoef(heard, true)[0, 1] for true in near) > 0.9


def test_tracks_of_a_set_overlap_and_pauses_do_not(source, tmp_path):
    rows = mixes.render(source, source, tmp_path, styles=["crossfade"], minutes=3)
    for before, after in itertools.pairwise(rows):
        assert float(after["start_s"]) < float(before["end_s"])


def test_the_same_settings_give_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        mixes.render(source, source, tmp_path / name, styles=["speed", "unknown"], minutes=1, seed=5)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_what_is_unknown_is_played_only_where_it_may_be(source, tmp_path):
    rows = mixes.render(source, source, tmp_path, styles=["crossfade", "unknown"], minutes=3, unknown_share=0.5)
    unknown = set((tmp_path / mixes.UNKNOWN).read_text().splitlines())
    assert len(unknown) == 3
    assert {row["track"] in unknown for row in rows if row["style"] == "unknown"} == {True, False}
    for row in rows:
        assert (row["track"] in unknown) == (row["known"] == "0")
    assert len(monitored.read(tmp_path / mixes.TRUTH)) == len(rows)
    assert len(monitored.read(tmp_path / mixes.TRUTH, is_known=False)) == sum(row["known"] == "0" for row in rows)


def test_speeds_are_within_the_style(source, tmp_path):
    rows = mixes.render(source, source, tmp_path, styles=["speed"], minutes=3)
    speeds = [float(row["speed"]) for row in rows]
    assert 0.97 <= min(speeds) < max(speeds) <= 1.03
    for row in rows:
        start_s, end_s, from_s, to_s = (float(row[name]) for name in mixes.COLUMNS[3:7])
        assert to_s - from_s == pytest.approx((end_s - start_s) * float(row["speed"]), abs=0.01)


def test_mistakes_are_said_before_any_work(source, tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'crossfade'"):
        mixes.render(source, source, tmp_path, styles=["crosfade"])
    with pytest.raises(ValueError, match="no speech"):
        mixes.render(source, source, tmp_path, styles=["talk"])
    mixes.render(source, source, tmp_path, styles=["crossfade"], minutes=1)
    with pytest.raises(FileExistsError, match="--overwrite"):
        mixes.render(source, source, tmp_path, styles=["crossfade"], minutes=1)
