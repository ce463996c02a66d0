"""Measures how well long recordings are monitored (precision, recall and F1 on seconds), and how fast.

python -m benchmarks.monitor --corpus=CORPUS --split=test --store=STORE --checkpoint=RUN --folder=FOLDER
    --out=FILE [--minutes=25] [--count=1] [--styles=crossfade,talk,speed,unknown,broadcast]

Mixes with ground truth are rendered from the corpus (`evaluation.queries.mixes`) and monitored by
`nafp.monitor.stretches`. The collection has all tracks of the store except those chosen to be unknown. If it still has
another version of an unknown piece, finding that version counts as false. The baseline cuts the recording into windows
of 25 s, one every 20 s as Panako does, and identifies each at its own speed. A window counts if its margin reaches
--least_margin. Nothing is tuned here: the constants come from mixes of another split.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _ends, _result
from evaluation.queries import material, mixes
from evaluation.scores import monitored, results
from nafp.audio import decode
from nafp.identify import identifier
from nafp.models import protocol
from nafp.monitor import stretches
from nafp.search import collection, index, store
from nafp.weights import sources

_CORPUS = flags.DEFINE_string("corpus", None, "The corpus of music, noise and speech. Required.", required=True)
_SPLIT = flags.DEFINE_string("split", "test", "The split that the mixes are made of. Default: test.")
_STORE = flags.DEFINE_string(
    "store", None, "The folder of the store with the fingerprints of the corpus. Required.", required=True
)
_NAME = flags.DEFINE_string("name", "db", "The name of the store in its folder. Default: db.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "small", "The network that wrote the store. Default: small.")
_FOLDER = flags.DEFINE_string("folder", None, "The folder for the mixes, 1 MB a minute. Required.", required=True)
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Required.", required=True)
_STYLES = flags.DEFINE_list("styles", list(mixes.STYLES), "The styles of the mixes. Default: all.")
_MINUTES = flags.DEFINE_float("minutes", 25.0, "Minutes in a mix. Default: 25.")
_COUNT = flags.DEFINE_integer("count", 1, "Mixes of each style. Default: 1.")
_SEED = flags.DEFINE_integer("seed", 0, "The seed of the mixes. Default: 0.")
_MAX_SPEED = flags.DEFINE_float(
    "max_speed", 4.0, "The largest change of speed, in percent, as for nafp monitor. Default: 4."
)
_LEAST_MARGIN = flags.DEFINE_float("least_margin", 0.1, "The least margin of a window of the baseline. Default: 0.1.")

WINDOW_S, EVERY_S = 25.0, 20.0
Report = tuple[list[monitored.PlayedStretch], float]  # What was reported of a mix, and the CPU seconds that it took.


def main() -> None:
    folder, source = Path(_FOLDER.value), material.Material(_CORPUS.value)
    if not (folder / mixes.SETTINGS).exists():
        mixes.render(
            source,
            source,
            folder,
            split=_SPLIT.value,
            styles=_STYLES.value,
            minutes=_MINUTES.value,
            count=_COUNT.value,
            seed=_SEED.value,
        )
    network = sources.load(_CHECKPOINT.value, batch_size=32)
    true = monitored.read(folder / mixes.TRUTH, is_known=True)
    unknown = (folder / mixes.UNKNOWN).read_text().splitlines()
    rows = known_rows(store.Store.open(_STORE.value, _NAME.value), unknown)
    searched = index.build(rows, index.plan("auto", n_rows=len(rows), dim=rows.dim))
    speeds = stretches.speeds(network, _MAX_SPEED.value / 100)
    about = {"tracks": len(rows.tracks), "rows": len(rows), "speeds": speeds}
    settings = json.loads((folder / mixes.SETTINGS).read_text())
    about |= {
        "network": network.identity,
        "mixes": {key: value for key, value in settings.items() if key != "source"},
    }
    numbers: dict[str, Any] = {"machine": results.machine(), "collection": about, "monitor": {}, "windows": {}}
    reports: dict[str, dict[str, Report]] = {"monitor": {}, "windows": {}}
    for path in sorted(folder.glob("*.wav")):
        for name, listen in (("monitor", monitor_mix), ("windows", windows)):
            began = time.process_time()
            played = listen(path, network, rows, searched, speeds)
            reports[name][path.name] = played, time.process_time() - began
            numbers[name] = summarised(true, reports[name])
            print(f"{path.name}  {name}: {numbers[name][style_of(path.name)]}", file=sys.stderr)
        _result.write(numbers, _OUT.value)
    print(table(numbers))


def known_rows(opened: store.Store, unknown: list[str]) -> collection.Collection:
    """Copies the tracks of a store into memory, except the unknown ones."""
    excluded = set(unknown)
    known = [track for track in opened.tracks if track.track not in excluded]
    parts = [opened.vectors[t.first_row : t.first_row + t.n_rows] for t in known]
    firsts = np.cumsum([0, *(len(part) for part in parts)])
    tracks = [t._replace(first_row=int(first)) for t, first in zip(known, firsts)]
    return collection.Collection([np.concatenate(parts)], tracks, hop_s=opened.hop_s)


def monitor_mix(
    path: Path,
    network: protocol.Network,
    rows: collection.Collection,
    searched: index.Index,
    speeds: Sequence[float],
) -> list[monitored.PlayedStretch]:
    """Monitors one mix."""
    listener = stretches.Monitor(network, rows, searched, speeds=speeds)
    blocks = decode.stream(path, sample_rate_hz=network.sample_rate_hz)
    return [
        monitored.PlayedStretch(
            path.name, stretch.track, stretch.start_s, stretch.end_s, stretch.track_start_s, stretch.speed
        )
        for stretch in stretches.watch(listener, blocks)
        if stretch.track
    ]


def windows(
    path: Path,
    network: protocol.Network,
    rows: collection.Collection,
    searched: index.Index,
    speeds: Sequence[float],
) -> list[monitored.PlayedStretch]:
    """Identifies one window after another, which is the baseline."""
    del speeds
    answering = identifier.Identifier(network, rows, searched, shifts=2, speeds="none")
    samples = decode.load(path, sample_rate_hz=network.sample_rate_hz)
    width, step = (round(s * network.sample_rate_hz) for s in (WINDOW_S, EVERY_S))
    played = []
    for first in range(0, len(samples) - network.segment, step):
        window = samples[first : first + width]
        answers = answering.identify(window, sample_rate_hz=network.sample_rate_hz, top=1, least=0.0)
        start_s, end_s = (n / network.sample_rate_hz for n in (first, first + min(step, len(window))))
        if answers and answers[0].margin >= _LEAST_MARGIN.value:
            best = answers[0]
            played.append(monitored.PlayedStretch(path.name, best.track, start_s, end_s, best.start_s, best.speed))
    return played


def summarised(true: list[monitored.PlayedStretch], reports: dict[str, Report]) -> dict[str, dict[str, float]]:
    """Computes the scores of the mixes so far, for each style and for all. reports: by name of the mix."""
    numbers = {}
    for style in [*dict.fromkeys(map(style_of, reports)), "all"]:
        names = [name for name in reports if style in (style_of(name), "all")]
        reported = [stretch for name in names for stretch in reports[name][0]]
        expected = [stretch for stretch in true if stretch.recording in names]
        cpu_s = round(sum(reports[name][1] for name in names), 1)
        numbers[style] = {"cpu_s": cpu_s, **monitored.summary(expected, reported)}
    return numbers


def style_of(name: str) -> str:
    """Returns the style of a mix from its file name."""
    return Path(name).stem.rsplit("_", 1)[0]


def table(numbers: dict[str, Any]) -> str:
    """Writes the scores as a Markdown table."""
    lines = ["| style | precision | recall | F1 | stretches | windows: P | R | F1 |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
    for style, ours in numbers["monitor"].items():
        baseline = numbers["windows"][style]
        cells = [f"{100 * record[key]:.1f}" for record in (ours, baseline) for key in ("precision", "recall", "f1")]
        counts = f"{ours['found_stretches']} of {ours['true_stretches']}"
        cells = [*cells[:3], counts, *cells[3:]]
        lines.append(f"| {style} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    _ends.run(main)
