"""How many windows the training input delivers.

python -m benchmarks.pipeline [--corpus=CORPUS] [--threads=1,2,4] [--out=FILE.json]

A pair is one window with its context, its noise and its speech where the corpus has some, as the default configuration
reads them; nothing else happens on the host. Threads are compared in turn in every round; medians over the rounds.
Where other work shares the processors, the CPU time tells more than the rate.
"""

import json
import os
import pathlib
import tempfile
import time

import numpy as np
from absl import app, flags

from configs import default
from nafp.audio import segments
from nafp.corpora import corpus, manifest
from nafp.training import augment, pipeline

ROOT = pathlib.Path(__file__).parent.parent
_CORPUS = flags.DEFINE_string("corpus", None, "CORPUS folder; without one, the recordings in tests/ become one.")
_THREADS = flags.DEFINE_list("threads", ["1", "2", "4"], "Threads that read.")
_BATCH = flags.DEFINE_integer("batch_size", 640, "Segments in a batch: twice the pairs.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Time for each in a round.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")


def reader(music: corpus.Corpus) -> tuple[pipeline.TrainingWindows, pipeline.ClipReader]:
    """Opens the training windows as the trainer does, with whatever noise and speech there is."""
    config = default.get_config()
    cut = augment.settings(audio=config.audio, augment=config.augment)
    hop = segments.to_samples(config.audio.hop_s, config.audio.sample_rate_hz)
    quiet = dict(silence_db=config.data.silence_db)
    listed = pipeline.windows(music, split="train", segment=cut.segment, hop=hop, **quiet)
    sizes = dict(n_samples=cut.context + cut.segment, **quiet)
    added = {kind: pipeline.noise_source(music, kind=kind, split="train", **sizes) for kind in ("noise", "speech")}
    places = dict(segment=cut.segment, context=cut.context, margin=cut.margin)
    return listed, pipeline.ClipReader(music, listed, seed=config.seed, **places, **added)


def measured(stream, seconds: float) -> np.ndarray:
    """Takes batches for about so many seconds; returns (wall, CPU) seconds per pair."""
    n_pairs, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        n_pairs += len(next(stream)["clip"])
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) / n_pairs


def compare(music: corpus.Corpus) -> dict[str, dict[str, float]]:
    """Measures every number of threads in every round; a stream warms up on its first batches."""
    listed, read = reader(music)
    times = {threads: [] for threads in _THREADS.value}
    for round_ in range(_ROUNDS.value):
        for threads, found in times.items():
            settings = dict(seed=round_, pairs=_BATCH.value // 2, read_threads=int(threads), prefetch=8)
            stream = pipeline.batches(len(listed.start), read, **settings)
            for _ in range(9):  # One more than are prefetched: from here on, one out is one in.
                next(stream)
            found.append(measured(stream, _SECONDS.value))
    return {threads: medians(np.array(found)) for threads, found in times.items()}


def medians(times: np.ndarray) -> dict[str, float]:
    wall, cpu = np.median(times, axis=0)
    return {"windows_per_s": 1 / wall, "cpu_us_per_pair": 1e6 * cpu}


def main(argv: list[str]) -> None:
    del argv
    with tempfile.TemporaryDirectory() as made:
        if _CORPUS.value:
            music = corpus.Corpus.open(_CORPUS.value)
        else:
            tracks = manifest.read(ROOT / "tests" / "recordings" / "RECORDINGS.csv")
            music = corpus.build(tracks, pathlib.Path(made) / "corpus")
        numbers = {
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
    if _OUT.value:
        pathlib.Path(_OUT.value).write_text(json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
