"""The classical systems answer as they should, where they are installed, and are counted as ours are."""

import csv
import pathlib

import numpy as np
import pytest

from benchmarks import chromaprint, classical, landmarks, rivals
from nafp.audio import decode

RECORDINGS = pathlib.Path(__file__).parents[1] / "recordings" / "music"
NAMES = ("driving.opus", "greecei.opus", "idle-tune.opus", "tuxi.opus")
RATE_HZ = 11025

needs_chromaprint = pytest.mark.skipif(not chromaprint.installed(), reason="libchromaprint is not installed")
needs_audfprint = pytest.mark.skipif(not landmarks.installed(), reason="audfprint2 is not installed")
SYSTEMS = [
    pytest.param(chromaprint.Chromaprint, marks=needs_chromaprint),
    pytest.param(landmarks.Audfprint, marks=needs_audfprint),
]


@pytest.fixture(scope="module")
def music() -> list[np.ndarray]:
    return [decode.load(RECORDINGS / name, sample_rate_hz=RATE_HZ) for name in NAMES]


def part(samples: np.ndarray, *, start_s: float, seconds: float) -> np.ndarray:
    return samples[round(start_s * RATE_HZ) : round((start_s + seconds) * RATE_HZ)]


def nearest_slowly(parts, codes):
    """Compares bit by bit at every place. Returns all places with the fewest differing bits, and that number."""
    asked = np.unpackbits(codes.view(np.uint8))
    errors = {
        (track, first): int((np.unpackbits(part[first : first + len(codes)].view(np.uint8)) != asked).sum())
        for track, part in enumerate(parts)
        for first in range(len(part) - len(codes) + 1)
    }
    fewest = min(errors.values(), default=None)
    return [place for place, n in errors.items() if n == fewest], fewest


@pytest.mark.parametrize("n_codes", [1, 2, 7, 30])
def test_the_table_finds_the_place_where_the_fewest_bits_differ(n_codes, monkeypatch):
    monkeypatch.setattr(chromaprint, "_PLACES", 16)
    random = np.random.default_rng(0)
    parts = [random.integers(0, 1 << 32, n, dtype=np.uint32) for n in (40, 3, 30, 0, 61)]
    table = chromaprint.CodeTable(parts)
    for _ in range(10):
        codes = random.integers(0, 1 << 32, n_codes, dtype=np.uint32)
        track, first, errors = table.nearest(codes)
        places, fewest = nearest_slowly(parts, codes)
        assert errors == fewest
        assert (track, first) == places[0]


def test_no_track_is_as_long_as_the_clip():
    table = chromaprint.CodeTable([np.zeros(5, np.uint32), np.zeros(6, np.uint32)])
    assert table.nearest(np.zeros(7, np.uint32)) is None
    with pytest.raises(ValueError, match="1 to 2047"):
        table.nearest(np.zeros(2048, np.uint32))


@pytest.mark.parametrize("kind", SYSTEMS)
def test_an_excerpt_is_found_in_its_track_at_its_second(kind, music):
    system = kind()
    for samples in music:
        system.add(samples)
    assert system.stored_bytes() > 0
    for number, samples in enumerate(music):
        answer = system.answer(part(samples, start_s=12.34, seconds=6))
        assert answer.track == number
        assert answer.start_s == pytest.approx(12.34, abs=0.13)


@needs_chromaprint
def test_chromaprint_has_no_answer_to_two_seconds_nor_to_none(music):
    system = chromaprint.Chromaprint()
    system.add(music[0])
    assert system.answer(part(music[0], start_s=3, seconds=2)) is None
    assert system.answer(np.zeros(0, np.float32)) is None


class Loudest:
    """Answers the track with the nearest peak. This system needs nothing installed."""

    name, version, sample_rate_hz = "loudest", "0", RATE_HZ

    def __init__(self):
        self.peaks = []

    def add(self, samples):
        self.peaks.append(np.abs(samples).max())

    def answer(self, samples):
        if len(samples) < 2 * RATE_HZ:
            return None
        return rivals.RivalAnswer(int(np.abs(self.peaks - np.abs(samples).max()).argmin()), 0.2, 1.0)

    def stored_bytes(self):
        return 4 * len(self.peaks)


@pytest.fixture
def clips(tmp_path) -> pathlib.Path:
    """Returns a folder of two tracks and clips of each in two conditions. One clip is as loud as the other track."""
    seconds = np.arange(RATE_HZ * 4) / RATE_HZ
    tones = {hz: np.sin(2 * np.pi * hz * seconds).astype(np.float32) for hz in (440, 660)}
    (tmp_path / "music").mkdir()
    rows = []
    for name, gain, tone in (("soft", 0.2, tones[440]), ("loud", 0.8, tones[660])):
        track = tmp_path / "music" / f"{name}.wav"
        decode.write_wav(track, gain * tone, sample_rate_hz=RATE_HZ)
        for condition, clip_gain in (("clean", gain), ("gain", 0.2)):
            query = f"{name}_{condition}.wav"
            decode.write_wav(tmp_path / query, clip_gain * tone[: 3 * RATE_HZ], sample_rate_hz=RATE_HZ)
            row = {"query": query, "answer": str(track), "time": "0.5", "condition": condition}
            rows.append(row)
    with open(tmp_path / "expected.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def run(folder: pathlib.Path) -> dict:
    return classical.compare("loudest", str(folder), str(folder / "music"), str(folder / "work"), lengths_s=[1, 3])


def test_right_tracks_are_counted_by_condition_and_length(clips, monkeypatch):
    monkeypatch.setitem(classical.SYSTEMS, "loudest", Loudest)
    numbers = run(clips)
    hits = {
        condition: [(cell["hits"], cell["asked"], cell["answered"]) for cell in cells.values()]
        for condition, cells in numbers["conditions"].items()
    }
    assert hits == {
        "clean": [(0, 2, 0), (2, 2, 2)],
        "gain": [(0, 2, 0), (1, 2, 2)],
        "all": [(0, 4, 0), (3, 4, 4)],
    }
    assert numbers["conditions"]["clean"]["3"]["median_place_error_s"] == pytest.approx(0.3)
    assert numbers["tracks"] == 2
    assert numbers["bytes_per_second"] == 1
    assert "No answer at all at 1 s." in classical.report("loudest", numbers)


def test_an_interrupted_run_goes_on_where_it_stopped(clips, monkeypatch):
    monkeypatch.setitem(classical.SYSTEMS, "loudest", Loudest)
    whole = run(clips)["conditions"]
    table = clips / "work" / "loudest.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:4]) + lines[4][:-3])
    assert run(clips)["conditions"] == whole
    assert [line.rsplit(",", 1)[0] for line in table.read_text().splitlines()] == [
        line.rstrip("\n").rsplit(",", 1)[0] for line in lines
    ]
    monkeypatch.setitem(classical.SYSTEMS, "loudest", None)  # The run is finished, so no system is needed.
    assert run(clips)["conditions"] == whole


def test_broken_files_are_left_out_and_counted(clips, monkeypatch):
    monkeypatch.setitem(classical.SYSTEMS, "loudest", Loudest)
    (clips / "soft_clean.wav").write_bytes(b"no audio")
    (clips / "music" / "broken.wav").write_bytes(b"no audio")
    numbers = run(clips)
    assert numbers["conditions"]["clean"]["3"]["asked"] == 1
    assert (numbers["tracks"], numbers["tracks_left_out"]) == (2, 1)


def test_a_wrong_place_to_search_in_is_named(clips, monkeypatch):
    monkeypatch.setitem(classical.SYSTEMS, "loudest", Loudest)
    for path in (clips / "music").iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    with pytest.raises(ValueError, match="none of the clips' answers"):
        run(clips)


def test_paths_are_the_same_track_from_the_file_upwards():
    assert classical.is_same("/a/music/x/1.flac", "/b/c/music/x/1.flac")
    assert classical.is_same("x/1.flac", "/b/c/music/x/1.flac")
    assert not classical.is_same("/a/music/y/1.flac", "/a/music/x/1.flac")
    assert not classical.is_same("", "/a/music/x/1.flac")
