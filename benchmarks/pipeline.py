"""Measures how many windows the training input delivers.

python -m benchmarks.pipeline [--corpus=CORPUS] [--threads=1,2,4] [--out=FILE.json]

A pair is one window with its context, and with noise and speech if the corpus has some, as the default configuration
reads them. The host does nothing else. All numbers of threads run in turn in every round, and medians over the rounds
are reported. If other work shares the processors, the CPU time tells more than the rate.
"""

import os
import pathlib
import tempfile
import time
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _ends, _result
from configs import default
from nafp.audio import segments
from nafp.corpora import corpus, manifest
from nafp.training import augment, pipeline

ROOT = pathlib.Path(__file__).parent.parent
_CORPUS = flags.DEFINE_string("corpus", None, "The corpus to read. Default: one built of the recordings in tests/.")
_THREADS = flags.DEFINE_list("threads", ["1", "2", "4"], "The numbers of reading threads to compare.")
_BATCH = flags.DEFINE_integer("batch_size", 640, "Segments in a batch, twice the number of pairs. Default: 640.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Seconds that each number of threads runs in a round. Default: 3.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds. Each runs every number of threads once. Default: 5.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")


PREFETCH = 8  # Batches that are read ahead.


def reader(music: corpus.Corpus) -> tuple[pipeline.TrainingWindows, pipeline.ClipReader]:
    """Returns the training windows of a corpus and their reader, as the trainer opens them.

    Noise and speech are drawn if the corpus has some.
    """
    config = default.get_config()
    cut = augment.settings(audio=config.audio, augment=config.augment)
    hop = segments.to_samples(config.audio.hop_s, config.audio.sample_rate_hz)
    silence_db = config.data.silence_db
    windows = pipeline.windows(music, split="train", segment=cut.segment, hop=hop, silence_db=silence_db)
    noises = {
        kind: pipeline.noise_source(music, kind=kind, split="train", n_samples=cut.heard_samples, silence_db=silence_db)
        for kind in ("noise", "speech")
    }
    return windows, pipeline.ClipReader(
        music,
        windows,
        segment=cut.segment,
        context=cut.context,
        margin=cut.margin,
        seed=config.seed,
        added={kind: noise for kind, noise in noises.items() if noise is not None},
    )


def measured(stream: pipeline.Stream, seconds: float) -> np.ndarray:
    """Takes batches for about `seconds`. Returns wall and CPU seconds per pair, float64 [2]."""
    n_pairs, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        n_pairs += len(next(stream)["clip"])
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) / n_pairs


def compare(music: corpus.Corpus) -> dict[str, dict[str, float]]:
    """Measures every number of threads in every round. Returns the medians by number of threads."""
    windows, read = reader(music)
    times: dict[str, list[np.ndarray]] = {threads: [] for threads in _THREADS.value}
    for seed in range(_ROUNDS.value):
        for threads in times:
            stream = pipeline.batches(
                len(windows.start),
                read,
                seed=seed,
                pairs=_BATCH.value // 2,
                read_threads=int(threads),
                prefetch=PREFETCH,
            )
            for _ in range(PREFETCH + 1):  # From here on, a batch is only read when one is taken.
                next(stream)
            times[threads].append(measured(stream, _SECONDS.value))
    return {threads: medians(np.array(rounds)) for threads, rounds in times.items()}


def medians(times: np.ndarray) -> dict[str, float]:
    """Computes rate and cost from wall and CPU seconds per pair, float64 [rounds, 2]."""
    wall, cpu = np.median(times, axis=0)
    return {"windows_per_s": 1 / wall, "cpu_us_per_pair": 1e6 * cpu}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        if _CORPUS.value:
            music = corpus.Corpus.open(_CORPUS.value)
        else:
            tracks = manifest.read(ROOT / "tests" / "recordings" / "RECORDINGS.csv")
            music = corpus.build(tracks, pathlib.Path(folder) / "corpus")
        numbers: dict[str, Any] = {
            "processors": len(os.sched_getaffinity(0)),
            "load_before": os.getloadavg()[0],
            "corpus": music.summary(),
            "batch_size": _BATCH.value,
            "threads": compare(music),
            "load_after": os.getloadavg()[0],
        }
    for threads, row in numbers["threads"].items():
        rate, cost = row["windows_per_s"], row["cpu_us_per_pair"]
        print(f"{threads:>2s} threads {rate:9.0f} windows/s {cost:7.1f} us of CPU per pair")
    _result.write(numbers, _OUT.value)


if __name__ == "__main__":
    _ends.run(main)
