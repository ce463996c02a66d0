"""A clip that reaches beyond an end of its track is placed there, though the music repeats itself within the track."""

import pathlib

import numpy as np
import pytest

from nafp.audio import decode
from nafp.identify import identifier, told
from nafp.search import collection, index, plans, store
from nafp.weights import calibrations
from tests import networks

MUSIC = pathlib.Path(__file__).parents[1] / "recordings" / "music"
LOOPS = [MUSIC / f"{name}.opus" for name in ("3am-sink-light", "albasrahm", "awake10-megawall", "after-school-rain")]
FROM_S, LASTS_S = 5.0, 20.0  # The part of each recording that is in the collection.


@pytest.fixture(scope="module")
def asked():
    network = networks.small()
    parts = [network.track(decode.load(p, sample_rate_hz=8000, start_s=FROM_S, seconds=LASTS_S)) for p in LOOPS]
    edges = np.cumsum([0, *map(len, parts)])
    tracks = [store.TrackRows(p.stem, int(edge), len(part), LASTS_S) for p, edge, part in zip(LOOPS, edges, parts)]
    rows = collection.Collection([np.concatenate(parts)], tracks, hop_s=0.5)
    built = index.build(rows, plans.plan("l2", n_rows=len(rows), dim=rows.dim))
    return identifier.Identifier(network, rows, built, confidence=calibrations.beside("small"), speeds="none")


def placed_s(asked, path, start_s):
    """Returns where a clip is placed, counted from where it was cut. start_s: in the recording."""
    samples = decode.load(path, sample_rate_hz=16_000, start_s=start_s, seconds=5.0)
    (answer,) = asked.identify(samples, sample_rate_hz=16_000, top=1)
    assert answer.track == path.stem
    return answer.start_s - (start_s - FROM_S)


@pytest.mark.parametrize("path", LOOPS, ids=lambda path: path.stem)
def test_a_clip_across_an_end_of_a_loop_is_placed_across_it(asked, path):
    assert placed_s(asked, path, 21.9) == pytest.approx(0, abs=0.5)
    assert placed_s(asked, path, 3.1) == pytest.approx(0, abs=1.0)
    assert placed_s(asked, path, 15.4) == pytest.approx(0, abs=0.1)


def test_a_clip_inside_a_track_stays_at_its_place(asked, monkeypatch):
    starts_s = np.arange(FROM_S, FROM_S + LASTS_S - 5, 1.3)
    found = [placed_s(asked, path, start_s) for path in LOOPS for start_s in starts_s]
    monkeypatch.setattr(told, "_beyond_an_end", lambda ranking, place, rows: place)
    assert found == [placed_s(asked, path, start_s) for path in LOOPS for start_s in starts_s]
