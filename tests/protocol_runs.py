"""Runs protocols with fingerprints that need no network, on recordings that need no disk."""

import collections
import csv
import pathlib
import re

import numpy as np

from evaluation.protocols import protocol as protocols
from evaluation.protocols import stages
from nafp.audio import decode, segments
from nafp.corpora import corpus, manifest
from nafp.search import store
from tests import tunes

RATE_HZ = 8000
META = {"hop_s": 0.5, "segment_s": 1.0, "sample_rate_hz": RATE_HZ, "model": "loudness of bands"}


def fingerprints(samples: np.ndarray) -> np.ndarray:
    """Gives unit vectors [n, 64] of how loud each band is, in every second, half a second apart."""
    frames = segments.frame(samples, segment=RATE_HZ, hop=RATE_HZ // 2)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(RATE_HZ)))[:, 100:2020]
    loud = np.log(spectra.reshape(len(frames), 64, -1).mean(axis=2) + 1e-4)
    loud -= loud.mean(axis=1, keepdims=True)
    return (loud / np.linalg.norm(loud, axis=1, keepdims=True)).astype(np.float32)


class Extract:
    """Stands in for the network; counts what it was asked to do."""

    def __init__(self):
        self.made = collections.Counter()

    def __call__(self, source, *, folder, name, split, overwrite, speed=1.0):
        if name in store.names(folder) and not overwrite:
            return
        self.made[re.sub("-[0-9a-f]{8}", "", name)] += 1
        tracks = corpus.sources(source, sample_rate_hz=RATE_HZ, split=split)
        with store.Writer(folder, name, dim=64, meta={**META, "speed": speed}, overwrite=overwrite) as writer:
            for track in tracks:
                samples = np.concatenate(list(track.blocks()))
                samples = decode.resample(samples, from_hz=1.0, to_hz=speed)
                writer.append(track.name, len(samples) / RATE_HZ, fingerprints(samples))
            writer.finish()


def place(folder: pathlib.Path) -> pathlib.Path:
    """Makes six tracks to ask for, four more, noise and a room; returns their manifest."""
    rows = []
    for i in range(10):
        tune = tunes.tune(12, sample_rate_hz=RATE_HZ, seed=i)
        path = tunes.write(folder / f"track{i}.wav", tune, RATE_HZ)
        rows.append(manifest.Track(str(path), kind="music", split="test" if i < 6 else "train"))
    rng = np.random.default_rng(0)
    decay = np.exp(-np.arange(900) / 150) * rng.normal(size=900) / 20
    for name, samples in (
        ("noise", rng.normal(size=30000) / 10),
        ("room", np.r_[0.9, decay]),
        ("mic", np.exp(-np.arange(60) / 4)),
    ):
        path = tunes.write(folder / f"{name}.wav", samples, RATE_HZ)
        kind = "microphone" if name == "mic" else name
        rows.append(manifest.Track(str(path), kind=kind, split="test"))
    manifest.write(folder / "tracks.csv", rows)
    return folder / "tracks.csv"


def protocol(path: pathlib.Path, text: str) -> protocols.Protocol:
    path.write_text(text)
    return protocols.load(path)


def run(place, out, asked: protocols.Protocol, **changes) -> tuple[str, Extract]:
    extract = changes.pop("extract", Extract())
    job = stages.Run(protocol=asked, out=str(out), extract=extract, references=str(place), show=False, **changes)
    return stages.run(job), extract


def cells(out: pathlib.Path) -> dict[tuple[str, str, float], dict[str, str]]:
    with open(out / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["condition"], row["metric"], float(row["seconds"])): row for row in rows}
