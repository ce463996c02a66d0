"""Mixes are rendered again after an interruption, whatever their tracks are called."""

import csv
import os

import numpy as np
import pytest

from evaluation.queries import material, mixes
from nafp import errors
from nafp.audio import decode
from tests import tunes

SETTINGS = {"split": "test", "styles": ["crossfade"], "minutes": 0.3, "unknown_share": 0.0}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> material.Material:
    """Opens a folder of three tracks. The name of one is Latin-1, as an old disk has it."""
    folder = tmp_path_factory.mktemp("music")
    for number, name in enumerate(("a", "b", "caf\udce9")):
        tunes.write(folder / f"{number}.wav", tunes.tune(13.0, sample_rate_hz=8000, seed=number), 8000)
        os.rename(folder / f"{number}.wav", folder / f"{name}.wav")
    return material.Material(folder)


def test_what_an_interrupted_rendering_left_is_replaced(source, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "mixes"
    monkeypatch.setattr(mixes, "_finish", stop)
    with pytest.raises(KeyboardInterrupt):
        mixes.render(source, source, out, count=2, **SETTINGS)
    monkeypatch.undo()
    assert len(list(out.glob("*.wav"))) == 2
    rows = mixes.render(source, source, out, count=1, **SETTINGS)
    assert {path.name for path in out.iterdir()} == {"crossfade_0.wav", mixes.SETTINGS, mixes.TRUTH, mixes.UNKNOWN}
    with open(out / mixes.TRUTH, encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert list(csv.DictReader(file)) == rows
    with pytest.raises(errors.AlreadyExists, match="--overwrite replaces them"):
        mixes.render(source, source, out, count=1, **SETTINGS)


def test_wav_files_of_somebody_else_stay(source, tmp_path):
    decode.write_wav(tmp_path / "mine.wav", np.zeros(80, np.float32), sample_rate_hz=8000)
    with pytest.raises(errors.AlreadyExists, match="holds WAV files"):
        mixes.render(source, source, tmp_path, overwrite=True, **SETTINGS)
    assert (tmp_path / "mine.wav").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"minutes": 0.1}, "lasts longer than 12 s"),
        ({"minutes": float("nan")}, "lasts longer than 12 s"),
        ({"styles": ["unknown"]}, "style unknown plays unknown music"),
        ({"styles": ["crosfade"]}, "Did you mean 'crossfade'"),
    ],
)
def test_what_cannot_be_mixed_is_refused_before_any_work(source, tmp_path, changes, reason):
    with pytest.raises(errors.Invalid, match=reason):
        mixes.render(source, source, tmp_path / "out", **{**SETTINGS, **changes})
    assert not (tmp_path / "out").exists()
