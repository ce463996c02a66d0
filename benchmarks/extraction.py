"""How fast and how frugal whole extractions are.

python -m benchmarks.extraction [--source=FOLDER] [--networks=full,narrow] [--big] [--out=FILE.json]

Rate: audio files in, store out, against what the encoder alone allows (as many batches of ready segments), one after
the other in every round; the medians of the ratios count. Each format of the source is measured by itself, and a
corpus built from it. Where other work shares the processors, the ratio of CPU times tells more than that of wall times.
Memory, with --big: the peak of a process that extracts a file of ten hours, and of one that extracts 10,000 short
files, made out of the recordings in tests/. The files take about 1 GB in the temporary folder.
"""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import soundfile
from absl import app, flags

from configs import default, narrow
from nafp.audio import decode, segments
from nafp.corpora import corpus, manifest
from nafp.fingerprints import extract
from nafp.models import network
from nafp.search import store

ROOT = pathlib.Path(__file__).parent.parent
_SOURCE = flags.DEFINE_string(
    "source", str(ROOT / "tests" / "recordings" / "music"), "What is extracted: see nafp extract."
)
_NETWORKS = flags.DEFINE_list("networks", ["full", "narrow"], "Which networks: full, narrow.")
_BATCH = flags.DEFINE_integer("batch_size", 64, "Segments in a batch; 64 is the default on CPU.")
_MINUTES = flags.DEFINE_list("minutes", ["4", "16"], "Audio of a format in a round, for each of the networks.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds; each times both once.")
_BIG = flags.DEFINE_bool("big", False, "Measure memory too: minutes, and a gigabyte of files.")
_HOURS = flags.DEFINE_float("hours", 10.0, "Length of the long file.")
_FILES = flags.DEFINE_integer("files", 10_000, "Number of the short files.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
_MEASURED = flags.DEFINE_string("measured", None, "Used by --big: extract this and end.")
_CONFIGS = {"full": default, "narrow": narrow}


def extractor(which: str) -> network.JaxNetwork:
    """Opens a network of random parameters: time and memory do not depend on them."""
    config = _CONFIGS[which].get_config()
    mel = np.zeros((1, *network.mel_shape(config)), np.float32)
    variables = jax.jit(network.create(config).init)(jax.random.key(0), mel)
    return network.JaxNetwork(variables, config, batch_size=_BATCH.value)


def timed(work) -> np.ndarray:
    """Returns (wall, CPU) seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def encode(encoder: network.JaxNetwork, ready: np.ndarray, n_batches: int) -> None:
    """Runs the network, two batches under way at a time as extraction has them."""
    running = collections.deque()
    for _ in range(n_batches):
        running.append(encoder.start(ready))
        if len(running) > 1:
            np.asarray(running.popleft())
    np.asarray(running.popleft())


def sources(tracks: list[corpus.Source], seconds: float, folder: pathlib.Path) -> dict[str, str]:
    """Writes a list of files for every format that has enough of them, and a corpus of the first."""
    chosen = collections.defaultdict(list)
    for i in np.random.default_rng(0).permutation(len(tracks)):
        same = chosen[pathlib.Path(tracks[i].name).suffix[1:].lower()]
        if tracks[i].seconds >= 10 and sum(track.seconds for track in same) < seconds:
            same.append(tracks[i])
    chosen = {kind: same for kind, same in sorted(chosen.items()) if enough(same, seconds)}
    if not chosen:
        raise ValueError(f"{_SOURCE.value}: no format with {seconds} s in files of at least 10 s")
    for kind, same in chosen.items():
        (folder / f"{kind}.txt").write_text("\n".join(track.name for track in same) + "\n")
    first = [manifest.Track(track.name) for track in next(iter(chosen.values()))]
    corpus.build(first, folder / "corpus", jobs=0)
    return {"corpus": "corpus", **{kind: f"{kind}.txt" for kind in chosen}}


def enough(tracks: list[corpus.Source], seconds: float) -> bool:
    return sum(track.seconds for track in tracks) >= 0.8 * seconds


def rates(which: str, tracks: list[corpus.Source], seconds: float, folder: pathlib.Path) -> dict:
    """Times encoder and extractions in turn; returns the medians."""
    encoder, kinds = extractor(which), sources(tracks, seconds, folder)
    audio = decode.load(tracks[0].name, sample_rate_hz=8000, seconds=30)
    rows = segments.frame(audio, segment=encoder.segment, hop=encoder.hop)
    ready = np.resize(rows, (encoder.batch_size, encoder.segment)).astype(np.float32)

    def whole(kind: str) -> None:
        source = str(folder / kinds[kind])
        extract.extract(encoder, source, str(folder), name=kind, overwrite=True)

    for kind in kinds:
        whole(kind)
    n_rows = {kind: len(store.Store.open(folder, kind)) for kind in kinds}
    n_batches = {kind: -(-n // encoder.batch_size) for kind, n in n_rows.items()}
    ratios, times = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
    alone = []
    for _ in range(_ROUNDS.value):
        for kind in kinds:
            n = n_batches[kind]
            alone.append(timed(lambda n=n: encode(encoder, ready, n)) / n / encoder.batch_size)
            times[kind].append(timed(lambda kind=kind: whole(kind)))
            ratios[kind].append(alone[-1] * n * encoder.batch_size / times[kind][-1])
    rows = {kind: row(np.array(times[kind]) / n_rows[kind], ratios[kind]) for kind in kinds}
    return {"encoder": row(np.array(alone), []), **rows}


def row(seconds: np.ndarray, ratios: list[np.ndarray]) -> dict[str, float]:
    """Sums up (wall, CPU) seconds per segment [rounds, 2], and what part of them is the encoder's."""
    wall, cpu = np.median(seconds, axis=0)
    found = {"segments_per_s": 1 / wall, "cpu_us_per_segment": 1e6 * cpu}
    if ratios:
        shares = np.median(ratios, axis=0)
        found |= {"share_of_encoder_wall": shares[0], "share_of_encoder_cpu": shares[1]}
    return found


def long_file(folder: pathlib.Path) -> pathlib.Path:
    """Writes one FLAC file of many hours: the shipped recordings, over and over."""
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
    """Writes many files of 3 s each, cut out of the shipped recordings: FLAC and WAV."""
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
    return list((ROOT / "tests" / "recordings" / "music").iterdir())


def peak_memory(source: pathlib.Path, which: str, folder: pathlib.Path) -> dict:
    """Extracts in a process of its own; returns its peak resident memory, times and rows."""
    command = [sys.executable, "-m", "benchmarks.extraction", f"--measured={which}"]
    began = time.perf_counter()
    child = subprocess.Popen([*command, f"--source={source}", f"--out={folder / 'store'}"], cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        raise RuntimeError(f"extraction of {source} ended with status {status}")
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


def memory(folder: pathlib.Path) -> dict:
    found = {}
    for what, make in (("one long file", long_file), ("many short files", short_files)):
        source = make(folder)
        found[what] = peak_memory(source, "narrow", folder)
        shutil.rmtree(folder / "store")
        print(f"{what}: {found[what]}", flush=True)
    return found


def main(argv: list[str]) -> None:
    del argv
    if _MEASURED.value:
        encoder = extractor(_MEASURED.value)
        extract.extract(encoder, _SOURCE.value, _OUT.value, name="db")
        return
    device = jax.devices()[0]
    numbers = {
        "device": getattr(device, "device_kind", str(device)),
        "processors": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "batch_size": _BATCH.value,
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as made:
        tracks = corpus.sources(_SOURCE.value, sample_rate_hz=8000)
        for which, minutes in zip(_NETWORKS.value, _MINUTES.value):
            folder = pathlib.Path(made) / which
            folder.mkdir()
            with decode.hushed():  # Decoders remark on real files.
                numbers[which] = rates(which, tracks, 60 * float(minutes), folder)
            for kind, row in numbers[which].items():
                line = ", ".join(f"{name} {value:.3g}" for name, value in row.items())
                print(f"{which:7s} {kind:8s} {line}", flush=True)
        if _BIG.value:
            numbers["memory"] = memory(pathlib.Path(made))
    numbers["load_after"] = os.getloadavg()[0]
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
