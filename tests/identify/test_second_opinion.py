"""Peaks judge what fingerprints found, as a loop over dictionaries of peaks says."""

import statistics

import numpy as np
import pytest

from nafp import errors
from nafp.database import database
from nafp.identify import identifier, second_opinion
from nafp.models import numpy_network
from nafp.search import confidence, peaks
from tests import databases, networks, tunes

RATE_HZ = 8000
CONFIG = networks.config()
NETWORK = numpy_network.NumpyNetwork(
    networks.variables(CONFIG, seed=0), CONFIG, identity={"sha256": "0", "source": "s"}
)
WEIGHTS = np.array([[0.0, 1.0, 1.0]])
PLAIN = confidence.Confidence([1], WEIGHTS)
SHARE = 0.05


def judging(share: float = SHARE) -> confidence.Confidence:
    """Returns a calibration that is sure of nothing, so that every clip gets a closer look."""
    return confidence.Confidence(
        [1], WEIGHTS, None, confidence.PeakCalibration(np.array([share]), WEIGHTS, np.zeros(1))
    )


def tune(number: int) -> np.ndarray:
    return tunes.tune(15, sample_rate_hz=RATE_HZ, seed=number)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A database of five tunes with peaks."""
    folder = tmp_path_factory.mktemp("judged")
    with database.Database.create(folder / "db", network=databases.network_file(folder), peaks=True) as made:
        with made.writer() as writing:
            for number in range(5):
                rows = np.lib.stride_tricks.sliding_window_view(tune(number), RATE_HZ)[:: RATE_HZ // 2]
                found = peaks.of_segments(rows, sample_rate_hz=RATE_HZ, hop=RATE_HZ // 2)
                writing.append(f"tune {number}", 15.0, NETWORK(rows), peaks=found)
        yield made.refresh()


@pytest.fixture(scope="module")
def mixed() -> np.ndarray:
    """Two seconds of the fourth tune under a stranger."""
    return tune(3)[6 * RATE_HZ :][: 2 * RATE_HZ] + tune(77)[: 2 * RATE_HZ]


def frames_by_hand(opened) -> dict[tuple[int, int], list[int]]:
    """Returns the peaks of each frame: (track, frame since its first row's) -> a byte for each band."""
    found = {}
    for track, (first, end) in enumerate(zip(opened.rows.first_rows.tolist(), opened.rows.end_rows.tolist())):
        flat = opened.rows.peaks(first, end).ravel().tolist()
        for frame in range(len(flat) // 2):
            found[track, frame] = flat[2 * frame : 2 * frame + 2]
    return found


def likeness_by_hand(opened, clip: np.ndarray, tracks: list[int], starts: list[float]) -> list[float]:
    """Returns how well a clip fits each place at the best of the frames within 0.75 s, in deviations above chance."""
    frames, lead, totals = frames_by_hand(opened), 7, []
    for track, start in zip(tracks, starts, strict=True):
        middle = round((start - int(opened.rows.first_rows[track])) * 16) - lead
        begins = range(middle - 24, middle + 25)
        said = [[clip[i][b] for i in range(len(clip)) for b in frames.get((track, begin + i), [])] for begin in begins]
        totals.append([float(sum(values)) for values in said])
    everything = [total for place in totals for total in place]
    chance = statistics.median(everything)
    spread = 1.4826 * statistics.median(abs(total - chance) for total in everything)
    return [(max(place) - chance) / spread for place in totals]


def test_places_are_judged_as_a_loop_says(opened, mixed):
    judge = second_opinion.judge(opened.rows, NETWORK, judging())
    clip = judge.heard(mixed)
    tracks, starts = np.array([3, 0, 4, 3]), opened.rows.first_rows[[3, 0, 4, 3]] + np.array([12, 3.5, -2.0, 27])
    expected = likeness_by_hand(opened, clip, tracks.tolist(), starts.tolist())
    np.testing.assert_allclose(judge.likeness(clip, tracks, starts), expected, atol=1e-2)
    assert expected[0] > 1.5 * max(expected[1:3])


def test_a_clip_that_is_near_nothing_fits_nothing(opened, mixed):
    judge = second_opinion.judge(opened.rows, NETWORK, judging())
    nowhere = np.zeros(0, np.int64)
    assert judge.likeness(judge.heard(mixed), nowhere, nowhere.astype(np.float32)).shape == (0,)


def test_answers_are_ranked_by_cosine_and_a_share_of_the_peaks(opened, mixed):
    asked = identifier.Identifier(NETWORK, opened.rows, opened.index, confidence=judging(), speeds="none")
    ranking = asked.rank(mixed, sample_rate_hz=RATE_HZ)
    places, clip = ranking.ranking, asked._judge.heard(mixed)
    by_cosine = np.argsort(-places.scores, kind="stable")
    judged = by_cosine[second_opinion.chosen(places.tracks[by_cosine])]
    fits = likeness_by_hand(opened, clip, places.tracks[judged].tolist(), places.starts[judged].tolist())
    np.testing.assert_allclose(places.counted[judged], places.scores[judged] + SHARE * np.array(fits), atol=2e-3)
    assert (np.diff(places.counted) <= 0).all()
    assert ranking.answers[0].track == opened.rows.tracks[int(places.tracks[0])]
    assert ranking.answers[0].score == pytest.approx(float(places.scores[0]))
    assert ranking.answers[0].margin == pytest.approx(float(places.counted[0]) - places.elsewhere)


def test_a_clip_is_found_at_its_place(opened):
    asked = identifier.Identifier(NETWORK, opened.rows, opened.index, confidence=judging(), speeds="none")
    best = asked.identify(tune(3)[6 * RATE_HZ :][: 2 * RATE_HZ], sample_rate_hz=RATE_HZ, least=0)[0]
    assert best.track == "tune 3"
    assert best.start_s == pytest.approx(6.0, abs=0.1)


def test_a_length_that_nobody_calibrated_is_answered_by_fingerprints_alone(opened, mixed):
    answers = [
        identifier.Identifier(NETWORK, opened.rows, opened.index, confidence=calibration).rank(
            mixed, sample_rate_hz=RATE_HZ
        )
        for calibration in (judging(0.0), PLAIN)
    ]
    assert answers[0].ranking.judged is None
    assert answers[0].answers == answers[1].answers


def test_without_a_calibration_of_peaks_answers_stay_those_of_fingerprints(opened, mixed):
    asked = identifier.Identifier(NETWORK, opened.rows, opened.index, confidence=PLAIN)
    assert asked._judge is None
    found = asked.rank(mixed, sample_rate_hz=RATE_HZ)
    assert found.ranking.judged is None
    assert second_opinion.judge(opened.rows, NETWORK, None) is None


def test_fingerprints_that_come_without_sound_are_answered_by_themselves(opened, mixed):
    rows = np.lib.stride_tricks.sliding_window_view(mixed, RATE_HZ)[:: RATE_HZ // 2]
    answers = [
        identifier.Identifier(NETWORK, opened.rows, opened.index, confidence=calibration).rank_vectors(
            {1.0: NETWORK(rows)}
        )
        for calibration in (judging(), PLAIN)
    ]
    assert answers[0].answers == answers[1].answers


def test_a_calibration_of_peaks_is_kept_and_an_incomplete_one_refused(tmp_path):
    path = tmp_path / "confidence.json"
    judging().save(path)
    again = confidence.Confidence.load(path)
    assert again.peak_share(3) == SHARE
    scores = np.array([0.3, 0.9])
    np.testing.assert_array_equal(
        again.probability(1, scores, scores, judged=True), judging().probability(1, scores, scores, judged=True)
    )
    PLAIN.save(path)
    assert "peaks" not in path.read_text()
    for text in ('{"shares": [1]}', "[]", '{"shares": [1, 2], "weights": [[1, 1, 1]], "elsewhere": [0]}'):
        path.write_text(f'{{"lengths": [1], "weights": [[0, 1, 1]], "peaks": {text}}}')
        with pytest.raises(errors.Invalid, match=r"confidence\.json"):
            confidence.Confidence.load(path)
