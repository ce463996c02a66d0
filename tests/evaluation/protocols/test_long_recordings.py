"""The protocol of one long recording in which songs play in a known order."""

import collections
import csv
import itertools
import json
import pathlib

import numpy as np
import pytest

from evaluation.protocols import tables
from evaluation.queries import material, recordings
from evaluation.scores import metrics, questions, results
from nafp.audio import decode
from tests import protocol_runs
from tests.protocol_runs import RATE_HZ, protocol, run


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
    return protocol_runs.place(tmp_path_factory.mktemp("place"))


RECORDING = """
kind = "recording"
[recording]
songs = 4
song_s = 11
levels = ["clean", "n0"]
lengths_s = [2, 5]
trials = 2
"""


@pytest.fixture(scope="module")
def recorded(place, tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("recorded")
    run(place, folder / "out", protocol(folder / "recording.toml", RECORDING))
    return folder / "out"


def test_songs_play_where_the_plan_says(recorded):
    sound = recorded / "recording" / "recording.wav"
    plan = recordings.read_plan(recorded / "recording" / "plan.csv", _source(recorded), split="test")
    assert [played.start_s for played in plan] == [0, 11, 22, 33]
    for played in plan:
        heard = decode.load(sound, sample_rate_hz=RATE_HZ, start_s=played.start_s, seconds=11)
        song = decode.load(played.song, sample_rate_hz=RATE_HZ, seconds=11)
        spectrum = np.fft.rfft(heard, 1 << 18) * np.conj(np.fft.rfft(song, 1 << 18))
        lag = int(np.argmax(np.fft.irfft(spectrum)))
        assert min(lag, (1 << 18) - lag) <= 20  # The direct sound is in its place.


def _source(recorded: pathlib.Path) -> material.Material:
    settings = json.loads((recorded / "queries" / "queries.json").read_text())
    return material.Material(pathlib.Path(settings["plan"][0][0]).parent / "tracks.csv")


def test_a_recording_is_cut_without_overlap_within_its_songs(recorded):
    with open(recorded / "queries" / "expected.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # 11 s hold five and five queries of 2 s (the second trial starts at 1 s), and two and one of 5 s.
    assert len(rows) == 4 * 2 * (5 + 5 + 2 + 1)
    by_trial = collections.defaultdict(list)
    for row in rows:
        where = (row["answer"], row["trial"], row["cut_s"], row["condition"])
        by_trial[where].append((float(row["time"]), float(row["seconds"])))
    for places in by_trial.values():
        for (first, seconds), (then, _) in itertools.pairwise(places):
            assert then == pytest.approx(first + seconds)
        assert places[-1][0] + places[-1][1] <= 11
    assert {row["condition"] for row in rows} == {"clean", "n0"}


def test_the_table_of_a_recording_is_what_counting_gives(recorded):
    _, scored = results.load(recorded / "results")
    with open(recorded / "queries" / "expected.csv", newline="") as file:
        truth = {row["query"]: row for row in csv.DictReader(file)}
    with open(recorded / "table.csv", newline="") as file:
        table = {(row["condition"], row["metric"], row["seconds"]): row for row in csv.DictReader(file)}
    for level in ("clean", "n0"):
        for column, seconds in enumerate(("2", "5")):
            shares = []
            for trial in ("0", "1"):
                right = [
                    bool(scored.right["song"][i, column])
                    for i, name in enumerate(scored.questions.names)
                    if (row := truth[pathlib.Path(name).name])
                    and (row["condition"], row["cut_s"], row["trial"]) == (level, seconds, trial)
                ]
                shares.append(np.mean(right))
            row = table[level, "accuracy", f"{float(seconds)}"]
            assert float(row["rate"]) == pytest.approx(np.mean(shares))
            assert float(row["deviation"]) == pytest.approx(np.std(shares, ddof=1))
    assert float(table["clean", "accuracy", "5.0"]["rate"]) > 0.9


def test_precision_recall_and_f1_are_averaged_over_the_songs_played():
    truth = np.array([0, 0, 0, 0, 1, 1, 2])
    said = np.array([0, 0, 1, 9, 1, 1, 0])  # Song 9 was never played.
    asked = asked_for(truth)
    tracks = said[:, None, None]
    unused = np.empty(0)
    answers = metrics.Answers(tracks, unused, unused, unused, np.ones((7, 1), bool))
    right = {"song": (said == truth)[:, None]}
    scored = results.Scored(asked, answers, right, right, (3,))
    found = tables.classified(scored, np.ones(7, bool), 0)
    assert found.accuracy == pytest.approx(4 / 7)
    assert found.precision == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert found.recall == pytest.approx((2 / 4 + 2 / 2 + 0) / 3)
    f1 = [2 * (2 / 3) * 0.5 / (2 / 3 + 0.5), 2 * (2 / 3) / (2 / 3 + 1), 0]
    assert found.f1 == pytest.approx(np.mean(f1))


def asked_for(truth: np.ndarray):
    n = len(truth)
    return questions.Questions(
        [str(i) for i in range(n)],
        np.arange(n),
        np.ones(n),
        truth[:, None],
        np.zeros((n, 1)),
        {},
        [str(t) for t in truth],
    )


def test_ones_own_recording_and_a_bare_list_of_songs_will_do(place, recorded, tmp_path, caplog):
    sound = recorded / "recording" / "recording.wav"
    plan = json.loads((recorded / "queries" / "queries.json").read_text())["plan"]
    songs = [pathlib.Path(song).stem for song, *_ in plan]
    (tmp_path / "songs.txt").write_text("\n".join(songs) + "\n")
    source = material.Material(place)
    taken = recordings.given([f"near={sound}", f"far={sound}"], str(tmp_path / "songs.txt"), source, split="test")
    assert [played.start_s for played in taken.plan] == [0, 12, 24, 36]  # Each song plays in full.
    rows = recordings.cut(
        taken,
        source,
        tmp_path / "q",
        split="test",
        levels=["clean", "n0"],
        lengths_s=[5.0],
        trials=1,
    )
    assert {row["condition"] for row in rows} == {"near", "near+n0", "far", "far+n0"}
    assert all(row["seconds"] == "5" for row in rows)  # The songs were cut to 11 s, so they last 44 s, not 48.
    assert any("ends at 44 s, the plan at 48 s" in line for line in caplog.messages)
    own = {"recording": [f"near={sound}"], "plan": str(tmp_path / "songs.txt")}
    run(place, tmp_path / "out", protocol(tmp_path / "recording.toml", RECORDING), **own)
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        assert {row["condition"] for row in csv.DictReader(file)} == {"near"}
    with pytest.raises(ValueError, match="needs --plan"):
        recordings.given([str(sound)], "", source, split="test")
    (tmp_path / "songs.txt").write_text("nobody\n")
    with pytest.raises(ValueError, match="nobody is not among the references"):
        recordings.given([str(sound)], str(tmp_path / "songs.txt"), source, split="test")
