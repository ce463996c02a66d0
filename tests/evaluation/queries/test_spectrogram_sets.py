"""song_mine's static sets: written as that system writes them, and trained from as they are."""

import json
import pathlib

import jax
import numpy as np
import pytest

from evaluation.queries import verbs
from launch import spectrograms
from nafp import config as config_lib
from nafp import errors
from nafp.audio import decode
from nafp.corpora import kinds, manifest, spectrogram_pairs
from nafp.models import numpy_spectrogram
from nafp.training import loop
from tests import networks, tunes

RATE_HZ = 8000


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> pathlib.Path:
    """Writes four tracks, the last of them for validation, a noise, a room and a microphone. Returns their manifest."""
    folder, rows = tmp_path_factory.mktemp("source"), []

    def add(name, samples, kind, split=""):
        path = tunes.write(folder / f"{name}.wav", samples, RATE_HZ)
        rows.append(manifest.Track(str(path), kind=kind, split=split))

    for i in range(4):
        add(f"track{i}", tunes.tune(4.2, sample_rate_hz=RATE_HZ, seed=i), "music", "val" if i == 3 else "train")
    rng = np.random.default_rng(0)
    add("noise", rng.normal(size=30000) / 10, "noise")
    add("room", np.r_[0.9, np.exp(-np.arange(900) / 150) * rng.normal(size=900) / 5], "room")
    add("mic", np.exp(-np.arange(80) / 9.0), "microphone")
    manifest.write(folder / "tracks.csv", rows)
    return folder / "tracks.csv"


def rendered(source, out, **changes) -> str:
    settings = {"source": str(source), "split": ["train", "val"], "form": "song_mine", "segments": 3, "show": False}
    request = verbs.QueriesRequest(out=str(out), **{**settings, **changes})
    return verbs.render_seconds(request, spectrogram=spectrograms.by_form(form="song_mine"))


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("sets") / "Dataset_4"
    assert "12 pairs of spectrograms of 4 recordings" in rendered(source, out)
    return out


def test_a_set_has_the_files_of_song_mine(dataset):
    table = json.loads((dataset / "train_data.json").read_text())
    assert set(table) == {"track0.wav", "track1.wav", "track2.wav"}
    names = {path.stem for path in (dataset / "train_set").iterdir()}
    assert {pathlib.Path(name).stem for seconds in table.values() for name in seconds} == names
    assert {path.stem.rpartition("_")[0] for path in (dataset / "val_set").iterdir()} == {"track3"}
    for path in (dataset / "train_set").iterdir():
        pair = np.load(path)
        assert (pair.shape, pair.dtype) == ((2, 256, 32), np.float32)
        assert pair.min() >= -80
        assert pair.max(axis=(1, 2)).tolist() == [0, 0]
        assert np.abs(pair[0] - pair[1]).mean() > 1
    assert any(path.stem.endswith("_augmented") for path in (dataset / "Samples").iterdir())


def test_the_clean_side_is_the_second_that_the_name_tells(source, dataset):
    path = next((dataset / "train_set").glob("track1_*.npy"))
    second = int(path.stem.rpartition("_")[2])
    samples = decode.load(source.parent / "track1.wav", sample_rate_hz=RATE_HZ, start_s=second, seconds=1.0)
    settings = config_lib.default().spectrogram
    sizes = {name: settings[name] for name in ("n_fft", "stft_hop", "n_mels")}
    expected = numpy_spectrogram.log_mel(
        samples[None], sample_rate_hz=RATE_HZ, low_hz=0.0, high_hz=4000.0, front_end="song_mine", **sizes
    )
    loud = expected[0] > -50  # Below, the rounding to 16 bits is heard.
    np.testing.assert_allclose(np.load(path)[0][loud], expected[0][loud], atol=0.5)


def test_a_set_that_was_interrupted_is_continued(source, dataset, tmp_path):
    rendered(source, tmp_path / "one")
    first = sorted((tmp_path / "one" / "train_set").iterdir())[0]
    before = first.read_bytes()
    first.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "one" / "train_set").iterdir()}
    rendered(source, tmp_path / "one")
    assert first.read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_set_of_other_settings_is_not_continued(source, dataset, tmp_path):
    first = sorted((dataset / "train_set").iterdir())[0]
    for changes, said in (({"seed": 1}, "seed: 0, now 1"), ({"segments": 2}, "segments: 3, now 2")):
        with pytest.raises(errors.AlreadyExists, match=f"train_settings.json: other settings .*{said}.* another --out"):
            rendered(source, dataset, **changes)
    with pytest.raises(errors.AlreadyExists, match=r"names: .*, now "):
        rendered(source, dataset, conditions=["clean"])
    with pytest.raises(errors.AlreadyExists, match="pieces"):
        rendered(source, dataset, count=1)
    # One of whose settings nobody knows, such as that of an earlier version.
    (tmp_path / "train_set").mkdir()
    (tmp_path / "train_set" / first.name).write_bytes(first.read_bytes())
    with pytest.raises(errors.AlreadyExists, match="says how these pairs were made"):
        rendered(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train_set"]


def test_other_splits_and_forms_are_refused(source, tmp_path):
    with pytest.raises(errors.Invalid, match="song_mine's sets have train, val"):
        rendered(source, tmp_path / "x", split=["test"])
    with pytest.raises(errors.Invalid, match="--form='songmine': allowed are waveforms, song_mine"):
        spectrograms.by_form(form="songmine")


def config(dataset, **changes):
    c = config_lib.default()
    settings = {
        **networks.FEW_BLOCKS,
        "model.form": "lax",  # Compiles fastest.
        "spectrogram.front_end": "song_mine",
        "spectrogram.low_hz": 0.0,
        "train.batch_size": 8,
        "train.steps": 2,
        "validate.tracks": 2,
        "validate.lengths": (1,),
        "data.read_threads": 2,
        "data.pairs": str(dataset),
    }
    with c.unlocked():
        c.update_from_flattened_dict({**settings, **changes})
    return c


@pytest.mark.usefixtures("quick_compiler")
def test_a_network_trains_from_a_small_set(tmp_path):
    rng = np.random.default_rng(0)
    for name, songs in (("train_set", range(9)), ("val_set", range(2))):
        (tmp_path / name).mkdir()
        for song in songs:
            np.save(tmp_path / name / f"song{song}_1.npy", rng.normal(size=(2, 32, 32)).astype(np.float32))
    trains(config(tmp_path, **{"spectrogram.n_mels": 32}), tmp_path / "run")


@pytest.mark.slow
def test_a_network_trains_from_a_set_as_it_is(dataset, tmp_path):
    """The fast test is test_a_network_trains_from_a_small_set."""
    trains(config(dataset), tmp_path / "run")


def trains(c, run: pathlib.Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        loop.train(c, str(run))
    lines = (run / "losses.jsonl").read_text().splitlines()
    assert len(lines) == 2
    log = (run / "log.txt").read_text()
    assert "9 pairs of spectrograms" in log
    assert "top-1 % of the mini-search" in log


def test_a_pair_of_another_shape_and_a_strange_name_are_one_line(tmp_path):
    folder = tmp_path / "train_set"
    folder.mkdir()
    np.save(folder / "song_3.npy", np.zeros((2, 128, 32), np.float32))
    pairs = spectrogram_pairs.SpectrogramPairs(tmp_path, split="train")
    with pytest.raises(errors.Invalid, match=r"song_3.npy: holds float32 \[2, 128, 32\], but the network sees"):
        pairs.read(0, shape=(256, 32))
    np.save(folder / "song.npy", np.zeros(1))
    with pytest.raises(errors.Invalid, match=r"SONG_SECOND.npy"):
        spectrogram_pairs.SpectrogramPairs(tmp_path, split="train")


def test_the_folders_of_online_data_tell_split_and_kind():
    for path, place in (
        ("train/train_set/a.wav", ("music", "train")),
        ("val/val_set/a.wav", ("music", "val")),
        ("train/train_background_noises/b.wav", ("noise", "train")),
        ("val/val_impulse_responses/mic/c.wav", ("microphone", "val")),
    ):
        assert kinds.place(f"/data/online_data/{path}", path)[:2] == place
