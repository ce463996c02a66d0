"""Measures clips at other speeds and in other keys: right tracks, places, the speed and pitch told, strangers, cost.

python -m benchmarks.any_speed --store=STORE --queries=QUERIES --work=FILE.jsonl [--lengths=1,3,5] [--clips=N]
    [--conditions=speed+20,pitch-4] [--repeats=CORPUS] [--near] [--unknown] [--minutes=30] [--out=FILE.json]

QUERIES is what `nafp queries render` wrote, and STORE holds the fingerprints of its tracks under the name db. Each
clip is asked by its sound, exactly as `nafp identify` asks. --near: without the look at other pitches. --unknown:
once more without its own track and the other versions of its tune, as `nafp corpus dedup` finds them;
`same_tune` counts them as right where the track is there. Of right tracks at another place, `repeated` counts those
whose place holds the same music again, by its fingerprints, and `misplaced` the others. FILE.jsonl keeps what was
answered, so that a run goes on after an interruption. Times are CPU times of one thread, of the clips that were not
sure at their own speed. At the end: what was accepted before the look at other pitches, and with other handicaps for
it, of the clips of all conditions.
"""

import csv
import itertools
import json
import math
import pathlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _ends, _loops, _result, _two_looks
from evaluation.scores import metrics, repeats, results
from nafp.audio import decode
from nafp.identify import asking, identifier
from nafp.search import collection, confidence, store
from nafp.weights import sources

_STORE = flags.DEFINE_string("store", None, "The folder of the store. Required.", required=True)
_QUERIES = flags.DEFINE_string("queries", None, "The folder of clips with expected.csv. Required.", required=True)
_WORK = flags.DEFINE_string("work", None, "The file of the answers. Required.", required=True)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "small", "The network, with a calibration. Default: small.")
_RUNTIME = flags.DEFINE_enum("runtime", "numpy", ["numpy", "jax", "onnx"], "What runs it. Default: numpy.")
_LENGTHS = flags.DEFINE_list("lengths", ["1", "3", "5"], "The lengths to ask, in seconds.")
_CLIPS = flags.DEFINE_integer("clips", 0, "Clips of each condition, from the first on. Default: 0, all.")
_CONDITIONS = flags.DEFINE_list("conditions", None, "Conditions to ask. Default: all.")
_REPEATS = flags.DEFINE_list("repeats", [], "Corpora with the sound of the tracks: the same sound elsewhere is right.")
_NEAR = flags.DEFINE_bool("near", False, "Ask without the look at other pitches.")
_UNKNOWN = flags.DEFINE_bool("unknown", False, "Ask each clip once more without its own track.")
_MINUTES = flags.DEFINE_float("minutes", 0, "Time after which to stop asking. Default: 0, none.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Default: the numbers are only printed.")

_WITHIN_S = 0.5
_HANDICAPS = (0.0, 0.03, 0.05, 0.07, 0.09, 0.12)
Line = dict[str, Any]


def main() -> None:
    work = pathlib.Path(_WORK.value)
    before = [json.loads(line) for line in work.read_text().splitlines()] if work.exists() else []
    done = {_key(line) for line in before}
    wanted = [line for line in _wanted() if _key(line) not in done]
    began, answered = time.monotonic(), before
    if wanted:
        asked = _identifier()
        versions = _two_looks.versions(asked.rows, asked._index, sorted({line["answer"] for line in wanted}))
        with work.open("a") as file:
            for line in wanted:
                if _MINUTES.value and time.monotonic() - began > 60 * _MINUTES.value:
                    break
                answered.append(_answered(asked, line, versions[line["answer"]]))
                file.write(json.dumps(answered[-1]) + "\n")
                file.flush()
    sound = repeats.Sound(_REPEATS.value) if _REPEATS.value else None
    rows = collection.Collection.of([store.Store.open(_STORE.value, "db")])
    table = [_row(group, lines, sound, rows) for group, lines in _groups(answered).items()]
    print(*map(_in_words, table), sep="\n", flush=True)
    accepted = _accepted(answered)
    print(*accepted, sep="\n", flush=True)
    _result.write({"machine": results.machine(), "clips": table, "handicaps": accepted}, _OUT.value)


def _wanted() -> Iterator[Line]:
    """Yields the clips to ask for, all conditions of one place before the next place."""
    with (pathlib.Path(_QUERIES.value) / "expected.csv").open(newline="", encoding="utf-8") as table:
        lines = list(csv.DictReader(table))
    by_condition: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        by_condition.setdefault(line["condition"], []).append(line)
    conditions = _CONDITIONS.value or list(by_condition)
    for number in range(_CLIPS.value or max(map(len, by_condition.values()))):
        for condition in conditions:
            line = by_condition[condition][number]
            for seconds in map(float, _LENGTHS.value):
                for unknown in (False, True)[: 1 + _UNKNOWN.value]:
                    yield {**line, "seconds": seconds, "near": _NEAR.value, "unknown": unknown}


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("query", "seconds", "near", "unknown"))


def _identifier() -> _two_looks.TwoLooks:
    network = sources.load(_CHECKPOINT.value, runtime=_RUNTIME.value, batch_size=identifier.BATCH)
    tried = "near" if _NEAR.value else "auto"
    asked = _two_looks.TwoLooks.open(network, _STORE.value, confidence=_calibration(), speeds=tried)
    asked.looks = []
    return asked


def _calibration() -> confidence.Confidence:
    weights = sources.weights_file(_CHECKPOINT.value)
    return confidence.Confidence.load(weights.with_suffix(".confidence.json"))


def _answered(asked: _two_looks.TwoLooks, line: Line, versions: list[str]) -> Line:
    """Asks one clip. Returns the line with its best answer, and the CPU milliseconds.

    versions: other tracks with its tune.
    """
    rate_hz = identifier.listening_rate_hz(asked._network.sample_rate_hz)
    path = f"{_QUERIES.value}/{line['query']}"
    samples = decode.load(path, sample_rate_hz=rate_hz, seconds=line["seconds"])
    left_out = [line["answer"], *versions] if line["unknown"] else []
    asked.without({asked.rows.tracks.index(name) for name in left_out})
    asked.looks.clear()
    began = time.process_time()
    ranking = asked.rank(samples, sample_rate_hz=rate_hz, top=2)
    spent_ms = 1e3 * (time.process_time() - began)
    kept = {name: line[name] for name in ("query", "seconds", "near", "unknown", "condition", "answer")}
    kept |= {"time": float(line["time"]), "rate": float(line["rate"] or 1), "cpu_ms": spent_ms}
    kept |= {"versions": versions, "heard": list(asked.looks)}
    kept |= {"pitched": bool(ranking.heard[0].ratio), "looks": 1 + (len(ranking.heard) > 1 or not ranking.is_sure)}
    return kept | ({"best": ranking.answers[0]._asdict()} if ranking.answers else {})


def _groups(lines: list[Line]) -> dict[tuple[Any, ...], list[Line]]:
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in sorted(lines, key=lambda line: (line["unknown"], line["near"])):
        groups.setdefault((line["condition"], line["seconds"], line["near"], line["unknown"]), []).append(line)
    return groups


def _row(
    group: tuple[Any, ...], lines: list[Line], sound: repeats.Sound | None, rows: collection.Collection
) -> dict[str, Any]:
    is_right = np.array([_is_right(line, sound) for line in lines])
    is_placed = np.array([right and _is_placed(line, sound) for right, line in zip(is_right, lines)])
    sure = np.array([[_probability(line) >= least for least in (0.5, asking.SURE)] for line in lines])
    elsewhere = [line for line, right, placed in zip(lines, is_right, is_placed) if right and not placed]
    n_repeated = sum(_is_repeated(line, rows) for line in elsewhere)
    told = [line for line, right in zip(lines, is_placed) if right]
    slower = [abs(100 * (line["best"]["speed"] / line["rate"] - 1)) for line in told]
    higher = [abs(line["best"]["semitones"] - _semitones(line["condition"])) for line in told]
    hits = metrics.Hits(int(is_right.sum()), len(lines))
    return {
        **dict(zip(("condition", "seconds", "near", "unknown"), group)),
        "clips": len(lines),
        "right": hits.rate,
        "right_within": metrics.wilson(hits),
        "same_tune": np.mean([right or _is_version(line) for right, line in zip(is_right, lines)]),
        "placed": is_placed.mean(),
        "placed_within": metrics.wilson(metrics.Hits(int(is_placed.sum()), len(lines))),
        "repeated": n_repeated / len(lines),
        "misplaced": (len(elsewhere) - n_repeated) / len(lines),
        "accepted": sure[:, 0].mean(),
        "sure": sure[:, 1].mean(),
        "speed_percent": _quantiles(slower),
        "semitones": _quantiles(higher),
        "doubtful_cpu_ms": _quantiles([line["cpu_ms"] for line in lines if line["looks"] > 1]),
    }


def _is_right(line: Line, sound: repeats.Sound | None) -> bool:
    if "best" not in line or line["unknown"]:
        return False
    return line["best"]["track"] == line["answer"] or (sound is not None and _same_sound(line, sound))


def _is_version(line: Line) -> bool:
    return "best" in line and line["best"]["track"] in line["versions"]


def _is_placed(line: Line, sound: repeats.Sound | None) -> bool:
    best = line["best"]
    near = best["track"] == line["answer"] and abs(best["start_s"] - line["time"]) <= _WITHIN_S
    return near or (sound is not None and _same_sound(line, sound))


def _is_repeated(line: Line, rows: collection.Collection) -> bool:
    places = line["time"], line["best"]["start_s"]
    track = rows.tracks.index(line["best"]["track"])
    return _loops.likeness(rows, track, *places, seconds=line["seconds"] * line["rate"]) >= _loops.ALIKE


def _same_sound(line: Line, sound: repeats.Sound) -> bool:
    true = repeats.TrackPlace(line["answer"], line["time"])
    other = repeats.TrackPlace(line["best"]["track"], line["best"]["start_s"])
    return sound.away_s(true, other, seconds=line["seconds"] * line["rate"]) is not None


def _probability(line: Line) -> float:
    return float(line["best"]["probability"] or 0) if "best" in line else 0.0


def _accepted(lines: list[Line]) -> list[dict[str, Any]]:
    """Counts accepted clips with and without their track, with different handicaps for other pitches."""
    calibration, lines = _calibration(), [line for line in lines if "best" in line and not line["near"]]
    counted = []
    for stands_out, worth in [(math.inf, 0.0), *itertools.product(_HANDICAPS, _HANDICAPS)]:
        found = [_two_looks.answered(line, calibration, stands_out=stands_out, worth=worth) for line in lines]
        sure = [probability >= asking.LEAST_PROBABLE for _, probability, _ in found]
        strangers = [yes for yes, line in zip(sure, lines) if line["unknown"]]
        right = [
            yes and track in (line["answer"], *line["versions"])
            for yes, line, (track, _, _) in zip(sure, lines, found)
            if not line["unknown"]
        ]
        counted.append({"stands_out": stands_out, "worth": worth, "right": sum(right) / max(1, len(right))})
        counted[-1] |= {"strangers": sum(strangers), "of": len(strangers)}
    return counted


def _semitones(condition: str) -> float:
    """Returns by how much a condition raises the pitch."""
    faster = sum(
        12 * math.log2(1 + float(p) / 100) for p in re.findall(r"speed([+-][\d.]+?\d?)(?=\.[a-z]|$)", condition)
    )
    return faster + sum(float(p) for p in re.findall(r"pitch([+-][\d.]+?\d?)(?=\.[a-z]|$)", condition))


def _quantiles(values: list[float]) -> list[float]:
    """Returns the median and the 90 % quantile."""
    return np.quantile(values, [0.5, 0.9]).round(3).tolist() if values else []


def _in_words(row: Mapping[str, Any]) -> str:
    name = (
        f"{row['condition']:20s} {row['seconds']:4g} s{' near' if row['near'] else ''}{' ?' if row['unknown'] else ''}"
    )
    low, high = row["right_within"]
    return (
        f"{name:34s} {row['clips']:4d} clips   right {100 * row['right']:5.1f} ({100 * low:.1f}-{100 * high:.1f})"
        f"   same tune {100 * row['same_tune']:5.1f}"
        f"   place {100 * row['placed']:5.1f}   again {100 * row['repeated']:5.1f}"
        f"   wrong {100 * row['misplaced']:5.1f}"
        f"   accepted {100 * row['accepted']:5.1f}   sure {100 * row['sure']:5.1f}"
        f"   speed % {row['speed_percent']}   semitones {row['semitones']}   ms {row['doubtful_cpu_ms']}"
    )


if __name__ == "__main__":
    _ends.run(main)
