"""The recordings that ship: free for everybody, few in bytes, and fit to train and test with."""

import collections
import pathlib

import numpy as np
import pytest

from nafp.corpora import corpus, manifest

FOLDER = pathlib.Path(__file__).parent / "recordings"
TABLE = FOLDER / "RECORDINGS.csv"


@pytest.fixture(scope="module")
def tracks() -> list[manifest.Track]:
    return manifest.read(TABLE)


def extra(track: manifest.Track, column: str) -> str:
    return dict(track.extra)[column]


def of_kind(tracks: list[manifest.Track], kind: str) -> list[manifest.Track]:
    return [track for track in tracks if track.kind == kind]


def test_the_table_lists_exactly_the_files(tracks):
    files = {str(path) for path in FOLDER.rglob("*") if path.suffix in (".opus", ".flac")}
    assert {track.path for track in tracks} == files


def test_everything_is_free_of_conditions_and_says_whose_it_is(tracks):
    assert {extra(track, "licence") for track in tracks} == {"CC0-1.0", "public-domain"}
    for track in tracks:
        assert extra(track, "author")
        assert extra(track, "original")


def test_all_of_it_is_below_five_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 5e6


def test_there_are_enough_tracks_from_enough_packages(tracks):
    music = of_kind(tracks, "music")
    assert len(music) >= 30
    assert len({track.group for track in music}) >= 4
    assert all(track.seconds == 30 for track in music)
    assert len(of_kind(tracks, "noise")) >= 4
    assert len(of_kind(tracks, "room")) >= 4


@pytest.mark.parametrize("kind", ["music", "noise", "room", "microphone"])
def test_nothing_of_one_group_is_in_two_splits(tracks, kind):
    splits = collections.defaultdict(set)
    for track in of_kind(tracks, kind):
        splits[track.group].add(track.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "test"} <= set.union(*splits.values())


def test_the_files_are_what_the_table_says_and_are_not_silent(tracks, shipped_corpus):
    packed = corpus.Corpus.open(str(shipped_corpus))
    known = {track.path: track for track in tracks}
    assert {track.path for track in packed.tracks} == set(known)
    for track in packed.tracks:
        samples = packed.audio(track) / 32768
        assert len(samples) == pytest.approx(known[track.path].seconds * packed.sample_rate_hz, abs=80)
        if track.kind == "music":
            seconds = samples[: 30 * packed.sample_rate_hz].reshape(30, -1)
            assert 20 * np.log10(np.sqrt(np.mean(seconds**2, axis=1)).min()) > -45
