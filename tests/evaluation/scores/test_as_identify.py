"""`python -m evaluation.speeds` asks as `nafp identify --speeds=near`: real clips, degraded, of every length.

Stored fingerprints know no other pitches. And `nafp identify` tells start and speed more exactly than it decided.
"""

import csv
import functools
import pathlib

import numpy as np
import pytest

from evaluation.scores import evaluate, results, speeds
from nafp.audio import decode
from nafp.fingerprints import extract
from nafp.identify import asking, clips, identifier
from nafp.search import confidence, store
from nafp.verbs import identify
from nafp.weights import sources
from tests import networks

RECORDINGS = pathlib.Path(__file__).parents[2] / "recordings"
MUSIC = sorted((RECORDINGS / "music").glob("*.opus"))[:8]
KNOWN, TRACK_S = MUSIC[:6], 20.0
RATE_HZ = 16000  # What `nafp identify` decodes clips of this network at.
LENGTHS_S = (1, 2, 3, 5, 10)
FAST_LENGTHS_S = (2, 5)  # One that gets more rows in the second look, and one that does not.
FAST = [(2, "not calibrated"), (5, "calibrated")]
QUERIES = ["query", *(extract.name_at("query", speed) for speed in asking.SPEEDS)]
WEIGHTS = pathlib.Path(sources.weights_file("small"))
CALIBRATIONS = {"calibrated": str(WEIGHTS.with_suffix(".confidence.json")), "not calibrated": None}


def start_s(number):
    return 3.1 + 0.13 * number


def degraded(number, path):
    """Ten seconds of a recording: at its own speed or changed, with noise or without, begun between two rows."""
    speed = (1.0, 1.04, 1.0, 0.96)[number % 4]
    audio = decode.load(path, sample_rate_hz=RATE_HZ, start_s=start_s(number), seconds=11)
    audio = decode.resample(audio, from_hz=RATE_HZ * speed, to_hz=RATE_HZ)[: 10 * RATE_HZ]
    noise = decode.load(RECORDINGS / "noise" / "waterfall.opus", sample_rate_hz=RATE_HZ, start_s=number / 4)
    snr_db = (40, 10, 5, 0)[number // 2]
    loudness = np.sqrt(np.square(audio).mean() / np.square(noise).mean()) * 10 ** (-snr_db / 20)
    mixed = audio + loudness * np.resize(noise, len(audio))
    return mixed / np.abs(mixed).max()


@pytest.fixture(scope="module")
def network():
    return networks.small()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network):
    """Makes a store of six recordings, and eight clips, two of them of others, cut to each length."""
    folder = tmp_path_factory.mktemp("as_identify")
    for path in KNOWN:
        audio = decode.load(path, sample_rate_hz=8000, seconds=TRACK_S)
        decode.write_wav(folder / f"{path.stem}.wav", audio, sample_rate_hz=8000)
    (folder / "tracks.txt").write_text("".join(f"{folder / path.stem}.wav\n" for path in KNOWN))
    extract.extract(network, str(folder / "tracks.txt"), str(folder / "store"), name="db")
    clips = [degraded(number, path) for number, path in enumerate(MUSIC)]
    for length_s in LENGTHS_S:
        cut = folder / f"{length_s}s"
        cut.mkdir()
        for number, clip in enumerate(clips):
            decode.write_wav(cut / f"q{number}.wav", clip[: length_s * RATE_HZ], sample_rate_hz=RATE_HZ)
    with open(folder / "expected.csv", "w", newline="") as file:
        truth = [[f"q{number}.wav", f"{path.stem}.wav", start_s(number)] for number, path in enumerate(MUSIC)]
        csv.writer(file).writerows([["query", "answer", "time"], *truth])
    return folder


@functools.cache
def fingerprinted(network, folder, length_s):
    """Extracts the clips of a length. Returns the folder of their store."""
    clips, store = folder / f"{length_s}s", folder / f"queries of {length_s} s"
    for _ in extract.at_speeds(network, str(clips), str(store), name="query", speeds=["auto"], shifts=2):
        pass
    return store


def evaluated(folder, queries, lengths, out, calibration, **settings):
    """Runs `python -m evaluation.speeds`: {clip: (track, start in seconds, score, speed)} for each length."""
    request = evaluate.Request(
        store=[str(folder / "store"), str(queries)],
        out=str(out),
        truth=str(folder / "expected.csv"),
        lengths=lengths,
        confidence=calibration,
        show=False,
        **{"shifts": 0} | settings,
    )
    speeds.run(request, queries=QUERIES)
    answers = results.load(out)[1]
    rows, told = store.Store.open(folder / "store", "db"), np.load(out / "speeds.npy")
    tracks, starts, scores = (values[:, :, 0] for values in answers.answers[:3])
    first = np.array([track.first_row for track in rows.tracks])
    starts_s = (starts - first[tracks]) * rows.hop_s
    return [
        {
            pathlib.Path(name).name: (rows.tracks[tracks[q, m]].track, starts_s[q, m], scores[q, m], told[q, m])
            for q, name in enumerate(answers.questions.names)
        }
        for m in range(len(lengths))
    ]


@functools.cache
def identified(network, folder, cut, calibration):
    """Runs `nafp identify`: {clip: (track, start in seconds, score, speed) as it decided}, and each clip's ranking."""
    fitted = confidence.Confidence.load(calibration) if calibration else None
    finder = identifier.Identifier.open(network, folder / "store", confidence=fitted, speeds="near")
    listed = clips.listed([str(cut)], sample_rate_hz=RATE_HZ, longest_s=asking.LONGEST_S)
    found, rankings = {}, []
    for reply, ranking in identify.replies(listed, finder, sample_rate_hz=RATE_HZ, top=1, least=0.0):
        best, places = reply.answers[0], ranking.ranking
        first_row = int(finder.rows.borders(places.tracks[:1])[0][0])
        at_s, speed = (float(places.starts[0]) - first_row) * finder.rows.hop_s, float(places.speeds[0])
        name = pathlib.Path(reply.query).name
        number = int(name[1])
        is_right = pathlib.Path(best.track).stem == MUSIC[number].stem and abs(at_s - start_s(number)) < 0.5
        if is_right:  # What is told is near to what was decided.
            assert best.start_s == pytest.approx(at_s, abs=0.25)
            assert best.speed == pytest.approx(speed, abs=0.02)
        found[name] = best.track, at_s, best.score, speed
        rankings.append(ranking)
    return found, rankings


def assert_alike(found, expected, *, apart):
    assert set(found) == set(expected)
    for name, (track, *numbers) in expected.items():
        assert found[name][0] == track, name
        assert found[name][1:] == pytest.approx(numbers, abs=apart), name


def cases():
    """Yields each length with each calibration. Those that are not FAST hold the same at more lengths."""
    for length_s in LENGTHS_S:
        for calibration in CALIBRATIONS:
            is_fast = (length_s, calibration) in FAST
            yield pytest.param(length_s, calibration, marks=() if is_fast else pytest.mark.slow)


@pytest.mark.parametrize("length_s, calibration", list(cases()))
def test_the_evaluation_and_nafp_identify_give_the_same_track_start_score_and_speed(
    folder, network, tmp_path, length_s, calibration
):
    queries, length = fingerprinted(network, folder, length_s), 2 * length_s - 1
    expected, rankings = identified(network, folder, folder / f"{length_s}s", CALIBRATIONS[calibration])
    (found,) = evaluated(folder, queries, [length], tmp_path, CALIBRATIONS[calibration])
    assert_alike(found, expected, apart=1e-4)
    # Both looks were taken, and short clips got more rows in the second.
    n_versions = [len(ranking.heard) for ranking in rankings]
    assert 1 in n_versions
    assert max(n_versions) == 5
    assert max(ranking.shifts for ranking in rankings) == (2 if length_s < asking.SHORT_S else 1)


@pytest.mark.parametrize("lengths_s", [FAST_LENGTHS_S, pytest.param(LENGTHS_S, marks=pytest.mark.slow)])
def test_a_prefix_of_a_longer_query_is_asked_as_a_clip_cut_there(folder, network, tmp_path, lengths_s):
    """The resampler hears beyond the cut by some milliseconds, so the last fingerprint differs a little."""
    queries, lengths = fingerprinted(network, folder, max(lengths_s)), [2 * length_s - 1 for length_s in lengths_s]
    calibration = CALIBRATIONS["calibrated"]
    for length_s, found in zip(lengths_s, evaluated(folder, queries, lengths, tmp_path, calibration)):
        expected, _ = identified(network, folder, folder / f"{length_s}s", calibration)
        assert_alike(found, expected, apart=0.02)
