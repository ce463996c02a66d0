"""`nafp amg`: clips, split, train, evaluate, and one line for what cannot be."""

import json
import types
from typing import NamedTuple

import ml_collections
import numpy as np
import pytest

from nafp import errors
from nafp.sequences import clips as folders
from nafp.sequences import embedder
from nafp.verbs import amg
from nafp.weights import sources
from tests.sequences import tones


class Rendered(NamedTuple):
    track: str
    start_s: float
    samples: np.ndarray
    failure: str = ""


class FirstStage:
    """Stands in for a trained network: a fingerprint is the first samples of its segment."""

    sample_rate_hz, segment, hop, dim = 8000, 8000, 4000, tones.DIM
    identity = types.MappingProxyType({"sha256": "ab"})

    def __call__(self, waveforms):
        return np.array(waveforms[:, : tones.DIM], np.float32)


class SecondStage:
    """Stands in for a run: the mean of the rows."""

    chunk_rows, seconds, dim, name, n_parameters = 9, 5, tones.DIM, "run@1", 0
    config = ml_collections.ConfigDict({"data": {"first_stage": "ab"}, "model": {"name": "mean"}})

    def __call__(self, sequences):
        return tones.unit(np.stack([rows.mean(axis=0) for rows in sequences]))

    def n_operations(self):
        return 1e6


def run(verb: str, *words: str, render=None, **settings) -> int:
    return amg.run(verb, words, settings, render=render, prepare=lambda: None)


@pytest.mark.parametrize(
    "verb, words, settings, message",
    [
        ("", (), {}, "name a verb; there are clips, split, train, evaluate"),
        ("trian", (), {}, "Did you mean 'train'"),
        ("clips", (), {"out": "x"}, "amg clips needs --source"),
        ("train", (), {"seed": 1}, "amg train takes no --seed; it takes --config, --workdir, --resume_from"),
        ("train", ("x",), {"config": 1, "workdir": "x"}, "unexpected x; every setting is a --flag=value"),
        ("split", (), {"out": "x"}, "needs one folder or store"),
        ("clips", (), {"out": "x", "source": "y", "versions": 0}, "--versions=0: the clean one counts"),
        ("evaluate", (), {"checkpoint": "x", "db": "y", "query": "z", "lengths": ["1"]}, "each at least 2"),
        ("evaluate", (), {"checkpoint": "x", "db": "y", "query": "z", "methods": ["one"]}, "allowed are first"),
    ],
)
def test_a_command_that_cannot_be_is_one_line(verb, words, settings, message):
    with pytest.raises(errors.Invalid, match=message):
        run(verb, *words, **settings)


def test_clips_are_fingerprinted_and_continued(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sources, "load", lambda checkpoint: FirstStage())
    samples = np.arange(3 * 16000, dtype=np.int16).reshape(3, 16000)
    asked = []

    def render(source, noise, *, done, variants, **drawn):
        asked.append((source, variants, sorted(done), drawn["count"]))
        all_clips = [Rendered("song", 30.0 * i, samples) for i in range(2)] + [
            Rendered("rest", 0.0, samples, "silence")
        ]
        return 3, (clip for clip in all_clips if (clip.track, clip.start_s) not in done)

    out = str(tmp_path / "clips")
    settings = {"source": "corpus", "out": out, "versions": 3}
    assert run("clips", render=render, **settings) == 0
    assert "2 clips of 30 s, each in 3 versions\n1 left out:\n  rest from 0 s: silence\n" in capsys.readouterr().out
    assert [len(clip.versions) for clip in folders.listed(out)] == [3, 3]
    rows = folders.read(f"{out}/2-01.npy")
    np.testing.assert_allclose(rows, samples[1].reshape(4, 4000)[:3, : tones.DIM] / 32768)
    assert run("clips", render=render, **settings) == 0
    assert asked == [("corpus", 2, [], 0), ("corpus", 2, [("song", 0.0), ("song", 30.0)], 0)]
    with pytest.raises(errors.AlreadyExists, match="holds clips made with another seconds"):
        run("clips", render=render, seconds=10.0, **settings)


def test_both_stages_are_scored_beside_each_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(embedder, "load", lambda checkpoint, *, seconds: SecondStage())
    clips = str(tones.folder(tmp_path / "clips", n_clips=6, n_rows=36, by=0.02))
    assert run("split", f"{clips}@00", out=str(tmp_path / "db"), seconds=5.0) == 0
    assert "24 chunks of 9 rows (5 s), from 6 recordings" in capsys.readouterr().out
    settings = {"checkpoint": "run", "db": str(tmp_path / "db"), "query": f"{clips}@01"}
    out = tmp_path / "results"
    assert run("evaluate", **settings, lengths=["2", "5"], starts="2", out=str(out)) == 0
    printed = capsys.readouterr().out
    assert "second stage: mean, 0 parameters, 1 million operations a vector; 24 vectors" in printed
    assert (out / "table.txt").read_text() == printed
    lines = json.loads((out / "results.json").read_text())["lines"]
    assert [(line["method"], line["seconds"]) for line in lines] == [
        (method, seconds) for seconds in (2, 5) for method in ("first", "single", "two")
    ]
    assert all(line["asked"] == 12 for line in lines)
    first = lines[3]
    assert (first["place_top1"], first["chunk_top1"], first["n_bytes"]) == (12, 12, 6 * 36 * tones.DIM * 4)
    assert lines[4]["chunk_top10"] > 6
    with pytest.raises(errors.Invalid, match="no recording is as long as 30 s"):
        run("evaluate", **settings, lengths=["30"])
