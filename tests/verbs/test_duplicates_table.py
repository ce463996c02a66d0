import csv

import numpy as np
import pytest

from nafp.audio import decode
from nafp.corpora import manifest
from nafp.search import collection, duplicates, index, store
from nafp.verbs import corpus, duplicates_table
from nafp.weights import sources
from tests import tunes
from tests.corpora.test_manifest import RECORDINGS

DIM, HOP_S = 32, 0.5


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def noisy(rows, *, cosine, rng):
    """Turns each row away so that its cosine to the old one is about this."""
    other = unit(rng.standard_normal(rows.shape))
    other = unit(other - np.vecdot(rows, other)[:, None] * rows)
    return unit(cosine * rows + np.sqrt(1 - cosine**2) * other)


def in_memory(tracks):
    """A collection of named tracks [n, D]."""
    table, first = [], 0
    for name, rows in tracks.items():
        table.append(store.TrackRows(name, first, len(rows), len(rows) * HOP_S))
        first += len(rows)
    return collection.Collection([np.concatenate(list(tracks.values()))], table, hop_s=HOP_S)


def found(named, /, **how):
    rows = in_memory(named)
    built = index.build(rows, index.plan("l2", n_rows=len(rows), dim=rows.dim))
    names = list(named)
    return {(names[p.track], names[p.other]): p for p in duplicates.find(rows, built, **how)}


def songs(n, *, rng, n_rows=60):
    return {f"song{i}": unit(rng.standard_normal((n_rows + 3 * i, DIM))) for i in range(n)}


def test_only_the_pairs_of_wanted_tracks_are_found():
    rng = np.random.default_rng(0)
    tracks = songs(4, rng=rng)
    tracks |= {name + "'": noisy(tracks[name], cosine=0.9, rng=rng) for name in ("song1", "song2")}
    assert set(found(tracks, tracks=[2])) == {("song2", "song2'")}
    assert set(found(tracks, tracks=[4])) == {("song1", "song1'")}
    assert found(tracks, tracks=[0]) == found(tracks, tracks=[]) == {}


def test_a_noisy_copy_an_excerpt_and_a_medley_are_found_where_they_are():
    rng = np.random.default_rng(0)
    tracks = songs(8, rng=rng)
    tracks["copy"] = noisy(tracks["song1"], cosine=0.85, rng=rng)
    tracks["excerpt"] = noisy(tracks["song2"][20:45], cosine=0.9, rng=rng)
    medley = [tracks["song3"][5:25], tracks["song4"][10:30], unit(rng.standard_normal((60, DIM)))]
    tracks["medley"] = noisy(np.concatenate(medley), cosine=0.9, rng=rng)
    pairs = found(tracks)
    assert set(pairs) == {
        ("song1", "copy"),
        ("song2", "excerpt"),
        ("song3", "medley"),
        ("song4", "medley"),
    }
    assert pairs["song1", "copy"].offset_s == 0
    assert pairs["song1", "copy"].share == 1
    assert pairs["song2", "excerpt"].offset_s == -20 * HOP_S
    assert pairs["song2", "excerpt"].is_whole
    assert pairs["song4", "medley"].offset_s == (20 - 10) * HOP_S
    assert pairs["song4", "medley"].matched_s == pytest.approx(10, abs=1.0)
    assert not pairs["song4", "medley"].is_whole
    assert pairs["song1", "copy"].score == pytest.approx(0.85, abs=0.02)


def brute_force(tracks, *, score, seconds):
    """Every pair of tracks, every diagonal, every window."""
    names, window = list(tracks), round(seconds / HOP_S)
    pairs = set()
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            a, b = tracks[one], tracks[other]
            for diagonal in range(-len(a), len(b)):
                start, end = max(0, -diagonal), min(len(a), len(b) - diagonal)
                cosines = [float(a[r] @ b[r + diagonal]) for r in range(start, end)]
                for at in range(len(cosines) - window + 1):
                    if np.mean(cosines[at : at + window]) >= score:
                        pairs.add((one, other))
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_search_finds_what_comparing_everything_finds(seed):
    rng = np.random.default_rng(seed)
    tracks = songs(5, rng=rng, n_rows=30)
    for i in range(4):
        source = tracks[f"song{rng.integers(5)}"]
        start, length = rng.integers(10), rng.integers(5, 20)
        shared = noisy(source[start : start + length], cosine=0.9, rng=rng)
        tracks[f"mix{i}"] = np.concatenate([unit(rng.standard_normal((12, DIM))), shared])
    slow = brute_force(tracks, score=0.8, seconds=5.0)
    assert slow
    assert set(found(tracks, score=0.8, seconds=5.0, stride=1)) == slow


def test_silence_in_many_tracks_is_no_evidence():
    rng = np.random.default_rng(1)
    silence = np.repeat(unit(rng.standard_normal((1, DIM))), 30, axis=0)
    tracks = {name: np.concatenate([rows, silence]) for name, rows in songs(6, rng=rng).items()}
    assert found(tracks) == {}
    tracks["copy"] = noisy(tracks["song0"], cosine=0.9, rng=rng)
    assert set(found(tracks)) == {("song0", "copy")}


def test_music_that_repeats_itself_is_no_duplicate_of_itself():
    rng = np.random.default_rng(2)
    tracks = songs(3, rng=rng)
    tracks["loop"] = np.tile(unit(rng.standard_normal((8, DIM))), (12, 1))
    assert found(tracks) == {}
    tracks["same loop"] = noisy(tracks["loop"], cosine=0.9, rng=rng)
    assert set(found(tracks)) == {("loop", "same loop")}


def test_groups_follow_pairs_from_one_to_the_next():
    assert duplicates.groups([(0, 3), (4, 3), (1, 2)], 6) == [0, 1, 1, 0, 0, 5]
    assert duplicates.groups([], 3) == [0, 1, 2]


def test_settings_that_cannot_be_meant_and_bare_stores_are_refused():
    rows = in_memory(songs(2, rng=np.random.default_rng(0)))
    with pytest.raises(ValueError, match="score 2"):
        duplicates.find(rows, None, score=2)
    with pytest.raises(ValueError, match="no table of tracks"):
        duplicates.find(collection.Collection([np.eye(4, dtype=np.float32)]), None)


@pytest.fixture(scope="module")
def real_store(tmp_path_factory):
    """Seven pieces, and of four a copy: late by a quarter second, coded, cut, or all of it."""
    folder = tmp_path_factory.mktemp("dedup")
    pieces = sorted((RECORDINGS / "music").glob("*.opus"))[:7]
    network = sources.load("small", runtime="numpy")
    rate = network.sample_rate_hz
    audio = {p.stem: decode.load(p, sample_rate_hz=rate, seconds=12.0) for p in pieces}
    names = list(audio)
    copies = {"late": (0, 0.25, 12.0), "coded.mp3": (1, 0.0, 12.0), "cut": (2, 3.0, 10.0)}
    copies["all.opus"] = (3, 2.25, 11.0)
    for name, (of, start_s, end_s) in copies.items():
        part = 0.5 * audio[names[of]][round(start_s * rate) : round(end_s * rate)]
        if "." in name:
            coded = tunes.write(folder / name, decode.resample(part, from_hz=rate, to_hz=16000), 16000)
            part = decode.load(coded, sample_rate_hz=rate)
        audio[f"{name} of {names[of]}"] = part
    about = {"hop_s": network.hop / rate, "sample_rate_hz": rate}
    with store.Writer(folder / "store", "db", dim=network.dim, meta=about) as writer:
        for name, samples in audio.items():
            writer.append(name, len(samples) / rate, network.track(samples))
        writer.finish()
    return folder / "store"


def test_copies_of_real_music_late_coded_and_cut_are_found_and_nothing_else(real_store):
    table = duplicates_table.find([], folder=str(real_store), show=False)
    pairs = {frozenset((row.path, row.duplicate_of)): row for row in table.rows}
    names = [track.track for track in store.Store.open(real_store, "db").tracks]
    expected = {frozenset((n, n.split(" of ")[1])) for n in names if " of " in n}
    assert set(pairs) == expected
    assert all(row.how == "whole" and row.score > 0.8 for row in table.rows)
    assert all(" of " in row.path for row in table.rows)  # The shorter one goes.
    cut = next(row for row in table.rows if row.path.startswith("cut"))
    assert cut.offset_s == 3.0
    assert table.n_groups == 4


def test_a_duplicate_in_another_split_is_reported_dropped_or_kept_with_its_other(real_store, tmp_path, capsys):
    names = [track.track for track in store.Store.open(real_store, "db").tracks]
    listed = [manifest.Track(str(tmp_path / name), 10.0, split="test" if " of " in name else "train") for name in names]
    renamed = tmp_path / "store"
    old = store.Store.open(real_store, "db")
    with store.Writer(renamed, "db", dim=old.dim, meta={"hop_s": old.hop_s}) as writer:
        for track in old.tracks:
            rows = old.vectors[track.first_row : track.first_row + track.n_rows]
            writer.append(str(tmp_path / track.track), track.seconds, rows)
        writer.finish()
    manifest.write(tmp_path / "all.csv", listed)
    given = {"store": str(renamed), "manifest": str(tmp_path / "all.csv")}
    out = str(tmp_path / "twice.csv")
    assert corpus.run("dedup", [], given | {"out": out}) == 0
    assert "4 of these recordings are in two splits" in capsys.readouterr().out
    with open(out, newline="") as file:
        assert {row["split"] + row["split_of"] for row in csv.DictReader(file)} == {"testtrain"}

    both = {"manifest": str(tmp_path / "all.csv"), "out": str(tmp_path / "kept.csv")}
    corpus.run("filter", [], both | {"without": out})
    kept = manifest.read(tmp_path / "kept.csv")
    assert [track.path for track in kept] == [t.path for t in listed if " of " not in t.path]

    tunes.write(tmp_path / "wav/a.wav", tunes.tune(1.0))
    with pytest.raises(ValueError, match=r"11 of its tracks are not in .*wav"):
        corpus.run("dedup", [str(tmp_path / "wav")], {"store": str(renamed), "out": out})

    sizes = {"sizes": "train=50%,test=50%", "together": out}
    with pytest.raises(ValueError, match="belong together"):
        corpus.run("split", [], both | sizes)
    corpus.run("split", [], both | sizes | {"again": True})
    splits = {t.path: t.split for t in manifest.read(tmp_path / "kept.csv")}
    for path in splits:
        if " of " in path:
            assert splits[path] == splits[str(tmp_path / path.split(" of ")[1])]
