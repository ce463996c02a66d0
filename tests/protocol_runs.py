"""Runs protocols on small recordings, with fingerprints that need no network."""

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
    """Returns unit vectors [n, 64] of the loudness of 64 bands, in windows of 1 s that are 0.5 s apart."""
    frames = segments.frame(samples, segment=RATE_HZ, hop=RATE_HZ // 2)
    spectra = np.abs(np.fft.rfft(frames * np.hanning(RATE_HZ)))[:, 100:2020]
    loud = np.log(spectra.reshape(len(frames), 64, -1).mean(axis=2) + 1e-4)
    loud -= loud.mean(axis=1, keepdims=True)
    return (loud / np.linalg.norm(loud, axis=1, keepdims=True)).astype(np.float32)


class Extract:
    """Stands in for the network. made: how often each store was made."""

    def __init__(self):
        self.made: collections.Counter[str] = collections.Counter()

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
    """Writes six references, four distractors, a noise, a room and a microphone, and returns their manifest."""
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
    """Writes a protocol to a file, and loads it."""
    path.write_text(text)
    return protocols.load(path)


def run(place, out, chosen: protocols.Protocol, **changes) -> tuple[str, Extract]:
    """Runs a protocol. Returns its table, and the stand-in for the network."""
    extract = changes.pop("extract", Extract())
    job = stages.Run(protocol=chosen, out=str(out), extract=extract, references=str(place), show=False, **changes)
    return stages.run(job), extract


def cells(out: pathlib.Path) -> dict[tuple[str, str, float], dict[str, str]]:
    """Reads table.csv of a run: (condition, metric, seconds) -> line."""
    with open(out / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["condition"], row["metric"], float(row["seconds"])): row for row in rows}
