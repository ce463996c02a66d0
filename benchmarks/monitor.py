"""How well and how fast long recordings are monitored: precision, recall and F1 on seconds.

python -m benchmarks.monitor --corpus=CORPUS --split=test --store=STORE --checkpoint=RUN --folder=FOLDER
    --out=FILE [--minutes=25] [--count=1] [--styles=crossfade,talk,speed,unknown,broadcast]

Mixes with ground truth are rendered from the corpus (`evaluation.queries.mixes`) and monitored
(`nafp.monitor.stretches`) in a collection of all tracks of the store but those that were chosen to be unknown;
another version of an unknown piece that is still in it counts as a false one. Beside it, as a baseline, the recording
is cut into windows that are identified one by one, at the speed they have (Panako's way: 25 s, every 20 s); a window
counts where its margin is large enough (--least_margin). Nothing is chosen here: constants come from mixes of another
split.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from evaluation.queries import material, mixes
from evaluation.scores import monitored as monitoring
from evaluation.scores import results
from nafp.audio import decode
from nafp.identify import identifier as identify
from nafp.monitor import stretches as monitor
from nafp.search import collection, index, store
from nafp.verbs import monitor as watching
from nafp.weights import sources

_CORPUS = flags.DEFINE_string("corpus", None, "Corpus of music, noise and speech.")
_SPLIT = flags.DEFINE_string("split", "test", "Split that the mixes are made of.")
_STORE = flags.DEFINE_string("store", None, "Store with the fingerprints of its tracks.")
_NAME = flags.DEFINE_string("name", "db", "Name within the store.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "small", "The network that wrote the store.")
_FOLDER = flags.DEFINE_string("folder", None, "Where the mixes are made; 1 MB a minute.")
_OUT = flags.DEFINE_string("out", None, "JSON file for the numbers.")
_STYLES = flags.DEFINE_list("styles", list(mixes.STYLES), "Of the mixes.")
_MINUTES = flags.DEFINE_float("minutes", 25.0, "Length of a mix.")
_COUNT = flags.DEFINE_integer("count", 1, "Mixes of each style.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the mixes.")
_MAX_SPEED = flags.DEFINE_float("max_speed", 4.0, "As nafp monitor --max_speed.")
_LEAST_MARGIN = flags.DEFINE_float("least_margin", 0.1, "Of a window of the baseline.")
flags.mark_flags_as_required(["corpus", "store", "folder", "out"])

WINDOW_S, EVERY_S = 25.0, 20.0


def main(argv: list[str]) -> None:
    del argv
    folder, source = Path(_FOLDER.value), material.Material(_CORPUS.value)
    if not (folder / mixes.SETTINGS).exists():
        settings = {"minutes": _MINUTES.value, "count": _COUNT.value, "seed": _SEED.value}
        mixes.render(source, source, folder, split=_SPLIT.value, styles=_STYLES.value, **settings)
    network = sources.load(_CHECKPOINT.value, batch_size=32)
    true = monitoring.read(folder / mixes.TRUTH, is_known=True)
    unknown = (folder / mixes.UNKNOWN).read_text().splitlines()
    rows = known_rows(store.Store.open(_STORE.value, _NAME.value), unknown)
    searched = index.build(rows, index.plan("auto", n_rows=len(rows), dim=rows.dim))
    speeds = watching.speeds(network, _MAX_SPEED.value / 100)
    about = {"tracks": len(rows.tracks), "rows": len(rows), "speeds": speeds}
    made = json.loads((folder / mixes.SETTINGS).read_text())
    about |= {
        "network": network.identity,
        "mixes": {key: value for key, value in made.items() if key != "source"},
    }
    found = {"machine": results.machine(), "collection": about, "monitor": {}, "windows": {}}
    told: dict[str, dict] = {"monitor": {}, "windows": {}}
    for path in sorted(folder.glob("*.wav")):
        for name, how in (("monitor", monitored), ("windows", windows)):
            began = time.process_time()
            reported = how(path, network, rows, searched, speeds)
            told[name][path.name] = reported, time.process_time() - began
            found[name] = summarised(true, told[name])
            print(f"{path.name}  {name}: {found[name][style_of(path.name)]}", file=sys.stderr)
        Path(_OUT.value).write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


def known_rows(opened: store.Store, unknown: list[str]) -> collection.Collection:
    """Puts the tracks of a store that are not unknown into memory."""
    left_out = set(unknown)
    kept = [track for track in opened.tracks if track.track not in left_out]
    parts = [opened.vectors[t.first_row : t.first_row + t.n_rows] for t in kept]
    firsts = np.cumsum([0, *(len(part) for part in parts)])
    tracks = [t._replace(first_row=int(first)) for t, first in zip(kept, firsts)]
    return collection.Collection([np.concatenate(parts)], tracks, hop_s=opened.hop_s)


def monitored(path, network, rows, searched, speeds) -> list[monitoring.PlayedStretch]:
    """Monitors one mix."""
    listener = monitor.Monitor(network, rows, searched, speeds=speeds)
    blocks = decode.stream(path, sample_rate_hz=network.sample_rate_hz)
    return [
        monitoring.PlayedStretch(path.name, one.track, one.start_s, one.end_s, one.track_start_s, one.speed)
        for one in monitor.watch(listener, blocks)
        if one.track
    ]


def windows(path, network, rows, searched, speeds) -> list[monitoring.PlayedStretch]:
    """Identifies one window after the other: the baseline."""
    del speeds
    identifier = identify.Identifier(network, rows, searched, shifts=2, speeds="none")
    samples = decode.load(path, sample_rate_hz=network.sample_rate_hz)
    width, step = (round(s * network.sample_rate_hz) for s in (WINDOW_S, EVERY_S))
    found = []
    for first in range(0, len(samples) - network.segment, step):
        window = samples[first : first + width]
        best = identifier.identify(window, sample_rate_hz=network.sample_rate_hz, top=1, least=0.0)
        start_s, end_s = (n / network.sample_rate_hz for n in (first, first + min(step, len(window))))
        if best and best[0].margin >= _LEAST_MARGIN.value:
            one = best[0]
            found.append(monitoring.PlayedStretch(path.name, one.track, start_s, end_s, one.start_s, one.speed))
    return found


def summarised(true: list, told: dict) -> dict:
    """Gives precision, recall, F1 and the rest for each style, and for all, of the mixes so far."""
    found = {}
    for style in [*dict.fromkeys(map(style_of, told)), "all"]:
        names = [name for name in told if style in (style_of(name), "all")]
        reported = [one for name in names for one in told[name][0]]
        asked = [one for one in true if one.recording in names]
        cpu_s = round(sum(told[name][1] for name in names), 1)
        found[style] = {"cpu_s": cpu_s, **monitoring.summary(asked, reported)}
    return found


def style_of(name: str) -> str:
    return Path(name).stem.rsplit("_", 1)[0]


def table(found: dict) -> str:
    """Writes the scores as a Markdown table."""
    lines = ["| style | precision | recall | F1 | stretches | windows: P | R | F1 |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
    for style, ours in found["monitor"].items():
        rival = found["windows"][style]
        cells = [f"{100 * each[key]:.1f}" for each in (ours, rival) for key in ("precision", "recall", "f1")]
        stretches = f"{ours['found_stretches']} of {ours['true_stretches']}"
        cells = [*cells[:3], stretches, *cells[3:]]
        lines.append(f"| {style} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
