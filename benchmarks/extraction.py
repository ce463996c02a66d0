"""Measures the speed and the memory of whole extractions.

python -m benchmarks.extraction [--source=FOLDER] [--networks=full,narrow] [--big] [--out=FILE.json]

Speed: an extraction from audio files into a store is compared with the encoder alone on as many ready batches. Both run
in turn in every round, and the medians of their ratios count. Each audio format of the source is measured by itself,
and so is a corpus built of it. If other work shares the processors, the ratio of CPU times tells more than that of wall
times. Memory (--big): the peak of a process that extracts one file of ten hours, and of one that extracts 10,000 short
files. Both are made of the recordings in tests/ and take about 1 GB in the temporary folder.
"""

import collections
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import soundfile
from absl import flags

from benchmarks import _ends, _result
from configs import default, narrow
from launch import exits
from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import corpus, manifest
from nafp.fingerprints import extract
from nafp.models import network
from nafp.search import store

ROOT = pathlib.Path(__file__).parent.parent
_SOURCE = flags.DEFINE_string(
    "source",
    str(ROOT / "tests" / "recordings" / "music"),
    "The audio to extract, as in nafp extract. Default: the recordings in tests/.",
)
_NETWORKS = flags.DEFINE_list("networks", ["full", "narrow"], "The networks to measure, out of full and narrow.")
_BATCH = flags.DEFINE_integer("batch_size", 64, "Segments in a batch. Default: 64, as nafp extract takes on CPU.")
_MINUTES = flags.DEFINE_list(
    "minutes", ["4", "16"], "Minutes of audio that a round extracts of each format, one value for each network."
)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds. Each times the encoder and the extraction once. Default: 5.")
_BIG = flags.DEFINE_bool("big", False, "Also measure memory, which takes minutes and 1 GB of files. Default: no.")
_HOURS = flags.DEFINE_float("hours", 10.0, "Hours of audio in the long file of --big. Default: 10.")
_FILES = flags.DEFINE_integer("files", 10_000, "Number of short files of --big. Default: 10,000.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")
_MEASURED = flags.DEFINE_string(
    "measured", None, "For --big only: a network to extract with in this process, into the store --out."
)
_CONFIGS = {"full": default, "narrow": narrow}


def extractor(which: str) -> network.JaxNetwork:
    """Returns a network with random parameters, on which time and memory do not depend. which: "full" or "narrow"."""
    config = _CONFIGS[which].get_config()
    mel = np.zeros((1, *network.mel_shape(config)), np.float32)
    variables = jax.jit(network.create(config).init)(jax.random.key(0), mel)
    return network.JaxNetwork(variables, config, batch_size=_BATCH.value)


def timed(work: Callable[[], object]) -> np.ndarray:
    """Returns the wall and CPU seconds of `work`, float64 [2]."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def encode(encoder: network.JaxNetwork, ready: np.ndarray, n_batches: int) -> None:
    """Runs the network on n_batches, two at a time as extraction does. ready: float32 [B, S], the batch."""
    running: collections.deque[Any] = collections.deque()
    for _ in range(n_batches):
        running.append(encoder.start(ready))
        if len(running) > 1:
            np.asarray(running.popleft())
    np.asarray(running.popleft())


def sources(tracks: list[corpus.Source], seconds: float, folder: pathlib.Path) -> dict[str, str]:
    """Writes a list of files for each format with enough audio, and a corpus of the first. Returns them by kind."""
    by_format: dict[str, list[corpus.Source]] = collections.defaultdict(list)
    for i in np.random.default_rng(0).permutation(len(tracks)):
        files = by_format[pathlib.Path(tracks[i].name).suffix[1:].lower()]
        if tracks[i].seconds >= 10 and sum(track.seconds for track in files) < seconds:
            files.append(tracks[i])
    chosen = {kind: files for kind, files in sorted(by_format.items()) if enough(files, seconds)}
    if not chosen:
        raise errors.Invalid(f"{_SOURCE.value}: no format with {seconds} s in files of at least 10 s")
    for kind, files in chosen.items():
        (folder / f"{kind}.txt").write_text("\n".join(track.name for track in files) + "\n")
    first = [manifest.Track(track.name) for track in next(iter(chosen.values()))]
    corpus.build(first, folder / "corpus", jobs=0)
    return {"corpus": "corpus", **{kind: f"{kind}.txt" for kind in chosen}}


def enough(tracks: list[corpus.Source], seconds: float) -> bool:
    """Returns whether the tracks last at least 80 % of `seconds`."""
    return sum(track.seconds for track in tracks) >= 0.8 * seconds


def rates(which: str, tracks: list[corpus.Source], seconds: float, folder: pathlib.Path) -> dict[str, Any]:
    """Times the encoder and the extractions in turn. Returns their medians by kind of source."""
    encoder, kinds = extractor(which), sources(tracks, seconds, folder)
    audio = decode.load(tracks[0].name, sample_rate_hz=8000, seconds=30)
    frames = segments.frame(audio, segment=encoder.segment, hop=encoder.hop)
    ready = np.resize(frames, (encoder.batch_size, encoder.segment)).astype(np.float32)

    def whole(kind: str) -> None:
        source = str(folder / kinds[kind])
        extract.extract(encoder, source, str(folder), name=kind, overwrite=True)

    for kind in kinds:
        whole(kind)
    n_rows = {kind: len(store.Store.open(folder, kind)) for kind in kinds}
    n_batches = {kind: -(-n // encoder.batch_size) for kind, n in n_rows.items()}
    ratios: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    times: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
    alone: list[np.ndarray] = []
    for _ in range(_ROUNDS.value):
        for kind in kinds:
            n = n_batches[kind]
            alone.append(timed(functools.partial(encode, encoder, ready, n)) / n / encoder.batch_size)
            times[kind].append(timed(functools.partial(whole, kind)))
            ratios[kind].append(alone[-1] * n * encoder.batch_size / times[kind][-1])
    extractions = {kind: medians(np.array(times[kind]) / n_rows[kind], ratios[kind]) for kind in kinds}
    return {"encoder": medians(np.array(alone), []), **extractions}


def medians(seconds: np.ndarray, ratios: list[np.ndarray]) -> dict[str, float]:
    """Computes medians over the rounds.

    seconds: float64 [rounds, 2], wall and CPU seconds per segment. ratios: [2] for each round, the encoder's share of
    them, or empty.
    """
    wall, cpu = np.median(seconds, axis=0)
    numbers = {"segments_per_s": 1 / wall, "cpu_us_per_segment": 1e6 * cpu}
    if ratios:
        shares = np.median(ratios, axis=0)
        numbers |= {"share_of_encoder_wall": shares[0], "share_of_encoder_cpu": shares[1]}
    return numbers


def long_file(folder: pathlib.Path) -> pathlib.Path:
    """Writes one FLAC file of --hours, in which the shipped recordings are repeated."""
    path = folder / "long.flac"
    rate, left = 16000, round(_HOURS.value * 3600 * 16000)
    music = [decode.load(p, sample_rate_hz=rate) for p in sorted(shipped())]
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        while left > 0:
            for audio in music:
                file.write(audio[:left])
                left -= min(left, len(audio))
    return path


def short_files(folder: pathlib.Path) -> pathlib.Path:
    """Writes --files files of 3 s each, cut out of the shipped recordings, as FLAC and WAV in turn."""
    into = folder / "short"
    into.mkdir()
    rate = 16000
    music = np.concatenate([decode.load(p, sample_rate_hz=rate) for p in sorted(shipped())])
    for i in range(_FILES.value):
        start = i * 7919 * 16 % (len(music) - 3 * rate)
        suffix = ("flac", "wav")[i % 2]
        soundfile.write(into / f"{i:05d}.{suffix}", music[start : start + 3 * rate], rate)
    return into


def shipped() -> list[pathlib.Path]:
    """Lists the music in tests/."""
    return list((ROOT / "tests" / "recordings" / "music").iterdir())


def peak_memory(source: pathlib.Path, which: str, folder: pathlib.Path) -> dict[str, Any]:
    """Extracts in a process of its own. Returns its peak resident memory, times and rows."""
    command = [sys.executable, "-m", "benchmarks.extraction", f"--measured={which}"]
    began = time.perf_counter()
    child = subprocess.Popen([*command, f"--source={source}", f"--out={folder / 'store'}"], cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        raise RuntimeError(f"the extraction of {source} ended with status {status}")
    opened = store.Store.open(folder / "store", "db")
    return {
        "network": which,
        "tracks": len(opened.tracks),
        "segments": len(opened),
        "audio_hours": sum(track.seconds for track in opened.tracks) / 3600,
        "peak_resident_gb": usage.ru_maxrss * 1024 / 1e9,
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


def memory(folder: pathlib.Path) -> dict[str, Any]:
    """Measures the memory of extracting one long file and many short ones."""
    numbers = {}
    for name, make in (("one long file", long_file), ("many short files", short_files)):
        numbers[name] = peak_memory(make(folder), "narrow", folder)
        shutil.rmtree(folder / "store")
        print(f"{name}: {numbers[name]}", flush=True)
    return numbers


def main() -> None:
    if _MEASURED.value:
        if not _OUT.value:
            raise exits.wrong("--measured needs --out, the folder of the store")
        extract.extract(extractor(_MEASURED.value), _SOURCE.value, _OUT.value, name="db")
        return
    device = jax.devices()[0]
    numbers: dict[str, Any] = {
        "device": getattr(device, "device_kind", str(device)),
        "processors": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "batch_size": _BATCH.value,
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as temporary:
        tracks = corpus.sources(_SOURCE.value, sample_rate_hz=8000)
        for which, minutes in zip(_NETWORKS.value, _MINUTES.value):
            folder = pathlib.Path(temporary) / which
            folder.mkdir()
            with decode.hushed():  # Decoders print remarks about real files.
                numbers[which] = rates(which, tracks, 60 * float(minutes), folder)
            for kind, values in numbers[which].items():
                line = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
                print(f"{which:7s} {kind:8s} {line}", flush=True)
        if _BIG.value:
            numbers["memory"] = memory(pathlib.Path(temporary))
    numbers["load_after"] = os.getloadavg()[0]
    _result.write(numbers, _OUT.value)


if __name__ == "__main__":
    _ends.run(main)
