"""Measures classical fingerprints on the clips that ours are judged by: right track, place and cost.

python -m benchmarks.classical --queries=QUERIES --references=MANIFEST --work=FOLDER --out=FILE
    [--systems=chromaprint,audfprint] [--lengths=1,2,3,5,10] [--clips=N]

QUERIES is a folder that `nafp queries render` wrote, with its expected.csv. The references are a corpus, a manifest
or a folder, and all music in it is added. The first seconds of a clip are asked as a recording of their own. The
answers are kept in FOLDER, so that an interrupted run goes on, and so that systems can be compared clip by clip.
Times are CPU times of one thread. Indexing is decoding, fingerprinting and storing. Asking is fingerprinting and
searching samples that are in memory.
"""

import csv
import io
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _ends, chromaprint, landmarks, rivals
from evaluation.scores import metrics, repeats, results, tables
from nafp import errors
from nafp.audio import decode, segments
from nafp.corpora import corpus
from nafp.jobs import progress

SYSTEMS: dict[str, Callable[[], rivals.RivalSystem]] = {
    "chromaprint": chromaprint.Chromaprint,
    "audfprint": landmarks.Audfprint,
}
_COLUMNS = ("query", "length_s", "track", "start_s", "score", "cpu_ms")

_QUERIES = flags.DEFINE_string("queries", None, "The folder of clips with expected.csv. Required.")
_REFERENCES = flags.DEFINE_string("references", None, "The corpus, manifest or folder to search. Required.")
_WORK = flags.DEFINE_string("work", None, "The folder for the answers, SYSTEM.csv. Required.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to update. Other systems in it stay. Default: none.")
_SYSTEMS = flags.DEFINE_list("systems", list(SYSTEMS), "The systems to measure.")
_LENGTHS = flags.DEFINE_list("lengths", ["1", "2", "3", "5", "10"], "The lengths to ask, in seconds.")
_CLIPS = flags.DEFINE_integer("clips", 0, "Clips of each condition, from the first on. Default: 0, all.")


def main() -> None:
    out = Path(_OUT.value or os.devnull)
    record = json.loads(out.read_text() or "{}") if out.exists() else {}
    for name in _SYSTEMS.value:
        measured = compare(
            name,
            str(_QUERIES.value),
            str(_REFERENCES.value),
            str(_WORK.value),
            lengths_s=list(map(float, _LENGTHS.value)),
            n_clips=_CLIPS.value,
        )
        record[name] = {"machine": results.machine(), **measured}
        print(report(name, measured), end="\n\n", flush=True)
        out.write_text(json.dumps(record, indent=1) + "\n")


def compare(
    name: str,
    queries: str,
    references: str,
    work: str,
    *,
    lengths_s: Sequence[float],
    n_clips: int = 0,
) -> dict[str, Any]:
    """Measures a system of SYSTEMS. Returns the record of `summary` and the cost of its index.

    n_clips: clips of each condition, from the first on, 0 for all. Raises errors.Invalid before any clip is asked if
    queries and references do not belong together.
    """
    if name not in SYSTEMS:
        raise errors.Invalid(f"--systems={name}: allowed are {', '.join(SYSTEMS)}")
    if not (Path(queries) / "expected.csv").is_file():
        raise errors.Invalid(f"--queries={queries}: has no expected.csv; see nafp queries render")
    asked, lengths_s = clips(queries, n_clips), sorted(lengths_s)
    rows, about = run(name, asked, lengths_s, references, Path(work))
    sound = repeats.Sound([references])
    return summary(with_repeats(rows, asked, sound), asked, lengths_s) | about


def clips(folder: str, first: int = 0) -> list[dict[str, str]]:
    """Reads the lines of expected.csv. first: lines of each condition, from the first on, 0 for all."""
    lines: list[dict[str, str]] = []
    counts: dict[str, int] = defaultdict(int)
    with open(Path(folder) / "expected.csv", newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            counts[line["condition"]] += 1
            if not first or counts[line["condition"]] <= first:
                lines.append(line | {"query": str(Path(folder) / line["query"])})
    return lines


def run(
    name: str,
    asked: Sequence[dict[str, str]],
    lengths_s: Sequence[float],
    references: str,
    work: Path,
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Asks for the answers that the folder lacks. Returns all answers and the facts of the index."""
    work.mkdir(parents=True, exist_ok=True)
    table, about = work / f"{name}.csv", work / f"{name}.json"
    rows = _read(table)
    done = {(row["query"], float(row["length_s"])) for row in rows}
    missing = {
        line["query"]: left
        for line in asked
        if (left := [s for s in lengths_s if (Path(line["query"]).name, s) not in done])
    }
    if missing or not about.exists():
        system = SYSTEMS[name]()
        tracks, facts = index(system, references)
        if not any(is_same(track, line["answer"]) for track in tracks for line in asked):
            raise errors.Invalid(
                f"none of the clips' answers (such as {asked[0]['answer']}) is among the references"
                f" (such as {tracks[0]}); name those that the clips were cut from"
            )
        about.write_text(json.dumps(facts) + "\n")
        rows += _answered(system, tracks, missing, table)
    return rows, json.loads(about.read_text())


def index(system: rivals.RivalSystem, references: str) -> tuple[list[str], dict[str, Any]]:
    """Adds all music. Returns the names of the tracks and the cost of the index."""
    rate, names, n_samples = system.sample_rate_hz, [], 0
    sources = corpus.sources(references, sample_rate_hz=rate)
    began, n_broken = time.process_time(), 0
    with progress.Progress(len(sources), "tracks", label=system.name) as bar:
        for source in sources:
            try:
                samples = np.concatenate(list(source.blocks()))
            except errors.Undecodable as error:
                bar.note(f"left out: {error}")
                n_broken += 1
                continue
            system.add(samples)
            names.append(source.name)
            n_samples += len(samples)
            bar.add()
    cpu_s, seconds = time.process_time() - began, segments.to_seconds(n_samples, rate)
    return names, {
        "version": system.version,
        "tracks": len(names),
        "tracks_left_out": n_broken,
        "hours": seconds / 3600,
        "bytes_per_second": system.stored_bytes() / seconds,
        "index_times_real_time": seconds / cpu_s,
    }


def _answered(
    system: rivals.RivalSystem, tracks: Sequence[str], missing: dict[str, list[float]], table: Path
) -> Iterator[dict[str, str]]:
    """Yields the missing answers. Each is written to the table before it is yielded."""
    is_new = not table.exists() or not table.stat().st_size
    with (
        open(table, "a", newline="", encoding="utf-8") as file,
        progress.Progress(len(missing), "clips", label=system.name) as bar,
    ):
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for path, left in missing.items():
            try:
                samples = decode.load(path, sample_rate_hz=system.sample_rate_hz)
            except errors.Undecodable as error:
                bar.note(f"left out: {error}")
                continue
            for seconds in left:
                row = {"query": Path(path).name, "length_s": f"{seconds:g}"}
                row |= ask(system, tracks, samples, seconds)
                writer.writerow(row)
                yield row
            file.flush()
            bar.add()


def ask(system: rivals.RivalSystem, tracks: Sequence[str], samples: np.ndarray, seconds: float) -> dict[str, str]:
    """Asks for the first `seconds` of a clip. The track is "" if the system has no answer."""
    n = segments.to_samples(seconds, system.sample_rate_hz)
    began = time.process_time()
    answer = system.answer(np.ascontiguousarray(samples[:n]))
    spent = {"cpu_ms": f"{1e3 * (time.process_time() - began):.2f}"}
    if answer is None:
        return {"track": "", "start_s": "", "score": ""} | spent
    return {
        "track": tracks[answer.track],
        "start_s": f"{answer.start_s:.3f}",
        "score": f"{answer.score:.6g}",
    } | spent


def with_repeats(
    rows: Sequence[dict[str, str]], asked: Sequence[dict[str, str]], sound: repeats.Sound
) -> list[dict[str, str]]:
    """Replaces answers that are exact repeats of the right place by that place, as `evaluation.scores.repeats` does."""
    lines = {Path(line["query"]).name: line for line in asked}
    judged = []
    with progress.Progress(len(rows), "answers", label="repeats") as bar:
        for row in rows:
            line = lines.get(row["query"])
            judged.append(row | _repeated(row, line, sound) if line and row["track"] else row)
            bar.add()
    return judged


def _repeated(row: dict[str, str], line: dict[str, str], sound: repeats.Sound) -> dict[str, str]:
    """Returns the right place for an answer that repeats it, or {} if it is right already or no repeat."""
    right = repeats.TrackPlace(line["answer"], float(line["time"]))
    other = repeats.TrackPlace(row["track"], float(row["start_s"]))
    if is_same(other.track, right.track) and abs(other.start_s - right.start_s) <= repeats.WITHIN_S:
        return {}
    seconds = float(row["length_s"]) * float(line.get("rate") or 1)
    away_s = sound.away_s(right, other, seconds=seconds)
    if away_s is None:
        return {}
    return {"track": right.track, "start_s": f"{right.start_s + away_s:.3f}"}


def summary(
    rows: Sequence[dict[str, str]],
    asked: Sequence[dict[str, str]],
    lengths_s: Sequence[float],
) -> dict[str, Any]:
    """Computes the cells of each condition, and of all, at each length, and the CPU time of a query."""
    lines = {Path(line["query"]).name: line for line in asked}
    grouped = defaultdict(list)
    for row in rows:
        if (line := lines.get(row["query"])) and float(row["length_s"]) in lengths_s:
            for condition in (line["condition"], "all"):
                grouped[condition, f"{float(row['length_s']):g}"].append((row, line))
    conditions = [*dict.fromkeys(line["condition"] for line in asked), "all"]
    named = [f"{seconds:g}" for seconds in lengths_s]
    return {
        "conditions": {c: {s: cell(grouped[c, s]) for s in named} for c in conditions},
        "cpu_ms_per_query": {
            s: statistics.fmean(float(row["cpu_ms"]) for row, _ in pairs) for s in named if (pairs := grouped["all", s])
        },
    }


def cell(pairs: Sequence[tuple[dict[str, str], dict[str, str]]]) -> dict[str, Any]:
    """Counts right tracks among pairs of answer and truth. The place is judged only if the track is right."""
    right = [(row, line) for row, line in pairs if is_same(row["track"], line["answer"])]
    away = [abs(float(row["start_s"]) - float(line["time"])) for row, line in right]
    return results.cell(metrics.Hits(len(right), len(pairs))) | {
        "answered": sum(bool(row["track"]) for row, _ in pairs),
        "median_place_error_s": statistics.median(away) if away else None,
        "within_half_a_second": sum(error <= 0.5 for error in away),
    }


def is_same(track: str, answer: str) -> bool:
    """Returns whether two paths agree in the file name and up to two folders above it."""
    ours, theirs = PurePath(track).parts, PurePath(answer).parts
    n = min(3, len(ours), len(theirs))
    return n > 0 and ours[-n:] == theirs[-n:]


def report(name: str, record: dict[str, Any]) -> str:
    """Writes the tables of a system as Markdown."""
    lengths = list(record["conditions"]["all"])
    header = [f"{name}, right track first, %", *(f"{s} s" for s in lengths)]
    rates = [[c, *map(tables.percent, cells.values())] for c, cells in record["conditions"].items()]
    place = [
        [c, *(_seconds(cells[s]["median_place_error_s"]) for s in lengths)] for c, cells in record["conditions"].items()
    ]
    silent = [s for s in lengths if not record["conditions"]["all"][s]["answered"]]
    ms = ", ".join(f"{spent:.1f} at {s} s" for s, spent in record["cpu_ms_per_query"].items())
    return "\n\n".join(
        [
            tables.markdown_table(header, rates),
            *([f"No answer at all at {' and '.join(silent)} s."] if silent else []),
            tables.markdown_table(["median error of the place, s", *header[1:]], place),
            f"{name} ({record['version']}): {record['tracks']:,} tracks, {record['hours']:.1f} h;"
            f" {record['bytes_per_second']:.0f} bytes a second of audio; indexing"
            f" {record['index_times_real_time']:,.0f} x real time; CPU ms per query: {ms}",
        ]
    )


def _seconds(error: float | None) -> str:
    return "-" if error is None else f"{error:.3f}"


def _read(table: Path) -> list[dict[str, str]]:
    """Reads the answers of an earlier run, and drops a last line that was cut off, so that it is asked again."""
    if not table.exists():
        return []
    text = table.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        table.write_bytes(whole)
    return list(csv.DictReader(io.StringIO(whole.decode())))


if __name__ == "__main__":
    flags.mark_flags_as_required(["queries", "references", "work"])
    _ends.run(main)
