"""Rendered queries: what comes out is what was asked for, from where the truth says."""

import csv
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from evaluation.queries import codecs, conditions, degrade, excerpts, material, rendering, verbs
from nafp.audio import decode, segments
from nafp.corpora import corpus, manifest
from tests import commands

RATE_HZ = 16000
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")


def music(seconds: float, seed: int, *, level: float = 0.05) -> np.ndarray:
    """Returns pink-like noise that swells four times a second. No two seconds are alike."""
    rng = np.random.default_rng(seed)
    samples = np.convolve(rng.normal(size=int(seconds * RATE_HZ)), np.ones(8) / 8, "same")
    swell = np.repeat(rng.uniform(0.2, 1, int(4 * seconds) + 1), RATE_HZ // 4)[: len(samples)]
    return (level * samples * swell).astype(np.float32)


def save(path: pathlib.Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    decode.write_wav(path, samples, sample_rate_hz=RATE_HZ)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> pathlib.Path:
    """Writes three tracks, two noises, a voice and responses, and returns their manifest."""
    folder = tmp_path_factory.mktemp("place")
    tracks = []
    for i, seconds in enumerate((16, 20.5, 30)):
        save(folder / f"track{i}.wav", music(seconds, i))
        tracks.append((f"track{i}.wav", "music"))
    for i in range(2):
        save(folder / f"noise{i}.wav", 0.1 * np.random.default_rng(90 + i).normal(size=48000))
        tracks.append((f"noise{i}.wav", "noise"))
    save(folder / "voice.wav", music(5, 70))
    decay = np.exp(-np.arange(8000) / 1500) * np.random.default_rng(5).normal(size=8000) * 0.1
    decay[40] = 0.9
    save(folder / "room.wav", decay)
    save(folder / "mic.wav", np.exp(-np.arange(100) / 10.0))
    tracks += [("voice.wav", "speech"), ("room.wav", "room"), ("mic.wav", "microphone")]
    rows = [manifest.Track(str(folder / name), kind=kind, split="test") for name, kind in tracks]
    manifest.write(folder / "tracks.csv", rows)
    return folder / "tracks.csv"


@pytest.fixture(scope="module")
def source(place) -> material.Material:
    return material.Material(place)


def heard(folder: pathlib.Path, row: dict[str, str]) -> np.ndarray:
    return decode.load(folder / row["query"], sample_rate_hz=RATE_HZ)


def truth(row: dict[str, str], seconds: float) -> np.ndarray:
    return decode.load(row["answer"], sample_rate_hz=RATE_HZ, start_s=float(row["time"]), seconds=seconds)


def power(samples: np.ndarray) -> float:
    return np.square(samples, dtype=np.float64).mean()


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 13.5])
def test_the_ratio_that_comes_out_of_mixing_is_the_ratio_asked_for(snr_db):
    rng, over = np.random.default_rng(0), slice(100, 900)
    samples, noise = rng.normal(size=1000).astype("f4"), rng.normal(size=1000).astype("f4") * 7
    mixed = degrade.mix(samples, noise, snr_db=snr_db, over=over)
    ratio = power(samples[over]) / power(mixed[over] - samples[over])
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=1e-3)


def test_mixing_with_silence_is_refused():
    with pytest.raises(ValueError, match="the noise is silent"):
        degrade.mix(np.ones(9, "f4"), np.zeros(9, "f4"), snr_db=0, over=slice(None))


def test_convolution_is_linear_and_keeps_the_direct_sound_in_place():
    rng = np.random.default_rng(0)
    samples, response = rng.normal(size=500).astype("f4"), rng.normal(size=80).astype("f4")
    wet = degrade.convolve(samples, response, direct=7)
    np.testing.assert_allclose(wet, np.convolve(samples, response)[7:507], atol=1e-4)


def test_a_response_is_cut_to_a_millisecond_before_its_direct_sound():
    response = np.r_[np.zeros(500), 0.1 * np.ones(20), 1.0, np.exp(-np.arange(300) / 50.0) / 2]
    cut, direct = degrade.direct_sound(response, sample_rate_hz=RATE_HZ)
    assert np.argmax(cut) == direct == 16
    assert power(cut) * len(cut) == pytest.approx(1, rel=1e-5)


def test_a_phone_band_is_all_that_is_left():
    noise = np.random.default_rng(0).normal(size=1 << 16).astype("f4")
    kept = degrade.band(noise, low_hz=300, high_hz=3400, sample_rate_hz=RATE_HZ)
    spectrum = np.square(np.abs(np.fft.rfft(kept)))
    hz = np.fft.rfftfreq(1 << 16, 1 / RATE_HZ)
    inside = spectrum[(hz > 500) & (hz < 3000)].mean()
    assert spectrum[(hz < 100) | (hz > 7000)].mean() < 1e-3 * inside


def test_a_clean_query_is_the_recording_at_its_place(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, count=7, seconds=5, seed=3)
    assert len({row["answer"] for row in rows}) == 3
    for row in rows:
        np.testing.assert_allclose(heard(tmp_path, row), truth(row, 5), atol=2 / 32768)


def test_a_manifest_of_nothing_but_paths_and_seconds_will_do(place, tmp_path):
    bare = [track._replace(sample_rate_hz=0, channels=0) for track in manifest.read(place)]
    manifest.write(tmp_path / "bare.csv", bare)
    pieces = material.Material(tmp_path / "bare.csv").pieces
    assert {piece.sample_rate_hz for piece in pieces} == {RATE_HZ}


def test_places_are_not_on_the_grid_of_rows(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, count=9, seconds=2)
    assert len({float(row["time"]) % 0.5 for row in rows}) == 9


def test_a_clean_query_of_a_corpus_is_its_samples(place, tmp_path):
    packed = corpus.build(manifest.read(place), tmp_path / "corpus", sample_rate_hz=8000, jobs=0)
    packed_source = material.Material(tmp_path / "corpus")
    rows = rendering.render(packed_source, packed_source, tmp_path / "q", count=4, seconds=3)
    tracks = {track.path: track for track in packed.tracks}
    for row in rows:
        first = segments.to_samples(float(row["time"]), 8000)
        query = decode.load(tmp_path / "q" / row["query"], sample_rate_hz=8000)
        expected = packed.audio(tracks[row["answer"]])[first : first + 24000]
        np.testing.assert_array_equal(decode.to_int16(query), expected)


@pytest.mark.parametrize("snr_db", [-6, 5])
def test_the_ratio_in_a_file_is_the_ratio_asked_for(source, tmp_path, snr_db):
    rows = rendering.render(source, source, tmp_path, names=["clean", f"n{snr_db}"], count=4, seconds=4)
    for clean, noisy in zip(rows[::2], rows[1::2], strict=True):
        music, both = heard(tmp_path, clean), heard(tmp_path, noisy)
        ratio = power(music) / power(both - music)
        assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.05)
        assert noisy["snr"] == str(snr_db)


def test_a_room_still_holds_what_was_played_before(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, names=["room"], count=4, seconds=3)
    room = next(piece for piece in source.pieces if piece.kind == "room")
    response, direct = degrade.direct_sound(source.read(room), sample_rate_hz=RATE_HZ)
    for row in rows:
        track = decode.load(row["answer"], sample_rate_hz=RATE_HZ)
        whole = np.convolve(track, response)[direct:]
        first = segments.to_samples(float(row["time"]), RATE_HZ)
        expected = whole[first : first + 3 * RATE_HZ]
        np.testing.assert_allclose(heard(tmp_path, row), expected, atol=3 / 32768)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(source, tmp_path):
    def bytes_of(name: str, seed: int) -> dict[str, bytes]:
        folder = tmp_path / name
        names = ["n0", "phone"]
        rendering.render(source, source, folder, names=names, count=3, seconds=2, seed=seed)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert bytes_of("a", 1) == bytes_of("b", 1)
    assert bytes_of("c", 2)["expected.csv"] != bytes_of("a2", 1)["expected.csv"]


def test_a_query_does_not_depend_on_what_else_is_rendered(source, tmp_path):
    few = rendering.render(source, source, tmp_path / "few", names=["n5"], count=2, seconds=2)
    many = rendering.render(
        source, source, tmp_path / "many", names=["clean", "room", "n5"], count=5, seconds=2, jobs=1
    )
    assert few == [row for row in many if row["condition"] == "n5"][:2]
    for row in few:
        one, other = (tmp_path / name / row["query"] for name in ("few", "many"))
        assert one.read_bytes() == other.read_bytes()


def test_no_query_is_cut_from_silence(tmp_path):
    pausing = np.concatenate([music(4, 1), np.zeros(20 * RATE_HZ, "f4"), music(4, 2)])
    save(tmp_path / "music" / "pausing.wav", pausing)
    save(tmp_path / "music" / "silent.wav", np.zeros(9 * RATE_HZ))
    source = material.Material(tmp_path / "music")
    rows = rendering.render(source, source, tmp_path / "q", count=12, seconds=2)
    for row in rows:
        seconds = heard(tmp_path / "q", row).reshape(2, RATE_HZ)
        assert np.sqrt(np.square(seconds).mean(axis=1)).min() > 10 ** (excerpts.QUIETEST_DB / 20)


def test_a_bad_file_is_named_once_and_another_takes_its_place(tmp_path, caplog):
    for i in range(3):
        save(tmp_path / "music" / f"track{i}.wav", music(6, i))
    source = material.Material(tmp_path / "music")
    (tmp_path / "music" / "track1.wav").write_bytes(b"RIFF, and nothing more")
    rows = rendering.render(source, source, tmp_path / "q", count=6, seconds=2)
    assert len(rows) == 6
    assert {material.stem(row["answer"]) for row in rows} == {"track0", "track2"}
    assert len([line for line in caplog.messages if "track1.wav" in line]) == 1


def test_only_silence_is_an_error_that_says_so(tmp_path):
    save(tmp_path / "music" / "silent.wav", np.zeros(9 * RATE_HZ))
    source = material.Material(tmp_path / "music")
    with pytest.raises(ValueError, match="without silence"):
        rendering.render(source, source, tmp_path / "q", count=1, seconds=2)


def test_a_faster_query_passes_through_more_of_the_recording(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, names=["speed+4", "clean"], count=2, seconds=4)
    for row in rows[::2]:
        assert row["rate"] == "1.04"
        back = decode.resample(heard(tmp_path, row), from_hz=1.0, to_hz=1.04)
        inner = slice(RATE_HZ // 2, -RATE_HZ // 2)
        expected = truth(row, 4.16)
        error = power(back[: len(expected)][inner] - expected[inner])
        assert error < 0.1 * power(expected)  # An offset of half a sample would cost more.


@needs_ffmpeg
@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "compressed", "pitch+1"])
def test_a_query_through_ffmpeg_stays_in_step_with_the_recording(source, tmp_path, name):
    for row in rendering.render(source, source, tmp_path, names=[name], count=2, seconds=8):
        expected, query = truth(row, 8), heard(tmp_path, row)
        assert len(query) == len(expected)
        loud, loud_there = (np.square(samples).reshape(-1, 160).mean(axis=1) for samples in (query, expected))
        centred = loud - loud.mean()
        lags = range(-20, 21)  # of 10 ms
        match = [np.dot(centred[20:-20], np.roll(loud_there, lag)[20:-20]) for lag in lags]
        assert abs(lags[int(np.argmax(match))]) <= 3


@needs_ffmpeg
def test_pitch_and_tempo_change_one_without_the_other():
    tone = np.sin(2 * np.pi * 440 * np.arange(4 * RATE_HZ) / RATE_HZ).astype("f4")
    raised = codecs.change_pitch(tone, semitones=12, sample_rate_hz=RATE_HZ)
    faster = codecs.change_tempo(tone, factor=1.1, sample_rate_hz=RATE_HZ)

    def hz(samples: np.ndarray) -> float:
        middle = samples[RATE_HZ : 2 * RATE_HZ] * np.hanning(RATE_HZ)
        return float(np.argmax(np.abs(np.fft.rfft(middle))))

    assert hz(raised) == pytest.approx(880, abs=4)
    assert hz(faster) == pytest.approx(440, abs=4)
    assert len(raised) == pytest.approx(len(tone), rel=0.02)
    assert len(faster) == pytest.approx(len(tone) / 1.1, rel=0.02)


def test_a_spliced_second_lies_within_a_fifth_of_a_second_of_its_place(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, count=3, seconds=5, spliced=True)
    for row in rows:
        track = decode.load(row["answer"], sample_rate_hz=RATE_HZ)
        first = segments.to_samples(float(row["time"]), RATE_HZ)
        shifts = []
        for second, piece in enumerate(heard(tmp_path, row).reshape(5, RATE_HZ)):
            near = first + second * RATE_HZ + np.arange(-3200, 3201)
            near = near[(near >= 0) & (near + RATE_HZ <= len(track))]
            error = [np.abs(track[at : at + 50] - piece[:50]).max() for at in near]
            assert min(error) < 2 / 32768
            shifts.append(near[int(np.argmin(error))] - first - second * RATE_HZ)
        assert len(set(shifts)) > 1


def test_aligned_queries_are_whole_tracks_under_their_own_names(source, tmp_path):
    rows = rendering.render_aligned(source, source, tmp_path, names=["n10"], spliced=True)
    for row in rows:
        assert pathlib.Path(row["query"]).name == pathlib.Path(row["answer"]).name
        assert row["time"] == "0.000000"
        track = decode.load(row["answer"], sample_rate_hz=RATE_HZ)
        assert len(heard(tmp_path, row)) == len(track)


def test_what_is_written_is_what_pfann_reads(source, tmp_path):
    names = verbs.names_of(None, snr_db=["-6", "8"])
    rendering.render(source, source, tmp_path, names=names, count=2, seconds=2)
    with open(tmp_path / "expected.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:5] == ["query", "answer", "time", "snr", "reverb"]
    assert {row[3] for row in rows} == {"-6", "8"}
    assert {row[4] for row in rows} == {"room"}
    listed = (tmp_path / "list.txt").read_text().split()
    assert listed == [row[0] for row in rows]
    assert all((tmp_path / name).is_file() for name in listed)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["claen"], "Did you mean 'clean'"),
        (["n5.rom"], "Did you mean 'room'"),
        (["speed"], "Did you mean 'speedN'"),
        (["clean", "clean"], "named twice"),
    ],
)
def test_a_condition_nobody_knows_says_what_was_meant(source, tmp_path, names, match):
    with pytest.raises(ValueError, match=match):
        rendering.render(source, source, tmp_path, names=names)


def test_what_is_missing_is_said_before_any_work(place, tmp_path, monkeypatch):
    silent_place = tmp_path / "only-music"
    shutil.copytree(place.parent, silent_place, ignore=shutil.ignore_patterns("*.csv", "[nvrm]*"))
    bare = material.Material(silent_place)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"names": ["n5"]}, "no noise of split test; it has music"),
        ({"seconds": 99}, "at least 99 s are needed"),
        ({"names": ["tempo+10"], "spliced": True}, "moves rows in time"),
    ]
    for settings, match in cases:
        with pytest.raises(ValueError, match=match):
            rendering.render(bare, bare, tmp_path / "q", **settings)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="ffmpeg, which is not installed"):
        rendering.render(bare, bare, tmp_path / "q", names=["mp3"])
    assert not (tmp_path / "q").exists()


def test_queries_that_are_there_are_kept_unless_told_otherwise(source, tmp_path):
    rendering.render(source, source, tmp_path, count=2, seconds=2)
    with pytest.raises(FileExistsError, match="--overwrite"):
        rendering.render(source, source, tmp_path, count=1, seconds=2)
    rendering.render(source, source, tmp_path, count=1, seconds=2, overwrite=True)
    assert len(list(tmp_path.glob("*.wav"))) == 1


def test_another_song_is_mixed_over_a_clip_and_never_its_own(source, tmp_path):
    rows = rendering.render(source, source, tmp_path, names=["clean", "song-5"], count=6, seconds=2)
    clean, mixed = rows[::2], rows[1::2]
    for before, after in zip(clean, mixed, strict=True):
        assert after["music"] != material.stem(after["answer"])
        own, both = heard(tmp_path, before), heard(tmp_path, after)
        added = both - own * (np.vdot(both, own) / np.vdot(own, own))  # A mix is turned down as a whole.
        ratio_db = 10 * np.log10(power(both - added) / power(added))
        assert ratio_db == pytest.approx(-5, abs=1)


def test_another_song_needs_another_song(source, tmp_path):
    alone = material.Material(source.path)
    tracks = alone.select(kind="music", split="test")
    alone.pieces = [piece for piece in alone.pieces if piece not in tracks[1:]]
    with pytest.raises(ValueError, match=r"no music of split test but .*track0\.wav; it needs another"):
        rendering.render(alone, alone, tmp_path, names=["song0"], count=1, seconds=2)


def test_every_condition_of_the_published_comparison_is_known():
    for name in (*conditions.ROBUSTNESS, "reverb", "speech5", "n-6.room.mic", "clipped.band"):
        assert conditions.parse(name).name == name


def test_the_command_renders(place, tmp_path):
    command = ["queries", "render", f"--source={place}"]
    command += ["--count=2", "--seconds=2", "--conditions=clean,speech0", f"--out={tmp_path / 'q'}"]
    done = commands.nafp(*command)
    assert done.returncode == 0, done.stderr
    assert "4 queries" in done.stdout
    again = commands.nafp(*command)
    assert again.returncode == 0, again.stderr
    other = commands.nafp(*command, "--seed=1")
    assert other.returncode != 0
    assert "seed: 0, now 1" in other.stderr
    assert "Traceback" not in other.stderr


def test_noise_and_responses_may_be_of_another_split_than_the_music(place, tmp_path):
    tracks = manifest.read(place)
    split = [track._replace(split="test" if track.kind == "music" else "train") for track in tracks]
    manifest.write(tmp_path / "tracks.csv", split)
    apart = material.Material(tmp_path / "tracks.csv")
    settings: dict[str, Any] = {"count": 1, "seconds": 2.0, "names": ["n5.room.mic"], "jobs": 1}
    with pytest.raises(ValueError, match="no microphone of split test"):
        rendering.render(apart, apart, tmp_path / "queries", **settings)
    rows = rendering.render(apart, apart, tmp_path / "queries", noise_split="train", **settings)
    assert rows[0]["noise"].startswith("noise")
    assert rows[0]["reverb"] == "room"
    with pytest.raises(FileExistsError, match="other settings"):
        rendering.render(apart, apart, tmp_path / "queries", noise_split="train", **{**settings, "names": ["n5"]})
    clean = {**settings, "names": ["clean"]}
    rendering.render(apart, apart, tmp_path / "clean", **clean)
    rendering.render(apart, apart, tmp_path / "clean", noise_split="test", **clean)  # What it would be without.
    with pytest.raises(FileExistsError, match="other settings"):
        rendering.render(apart, apart, tmp_path / "clean", noise_split="train", **clean)
    aligned = rendering.render_aligned(apart, apart, tmp_path / "aligned", noise_split="train", names=["n5"], jobs=1)
    assert len(aligned) == 3


def test_references_and_noise_may_be_lists(place, tmp_path):
    of_kind = {kind: [t.path for t in manifest.read(place) if t.kind == kind] for kind in ("music", "noise")}
    for kind, paths in of_kind.items():
        (tmp_path / f"{kind}.txt").write_text("\n".join(paths))
    places = {name: str(tmp_path / f) for name, f in (("source", "music.txt"), ("noise", "noise.txt"), ("out", "q"))}
    request = verbs.QueriesRequest(**places, conditions=["n5"], count=2, seconds=2.0, show=False)
    assert "2 queries" in verbs.render(request)
