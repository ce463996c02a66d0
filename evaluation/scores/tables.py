"""Hit rates as tables: for the terminal, as Markdown, as CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .metrics import METRICS

LABELS = {
    "exact": "top-1 exact",
    "near": "top-1 near",
    "top3": "top-3 exact",
    "top10": "top-10 exact",
    "song": "song",
}


def seconds(length: int, *, hop_s: float, segment_s: float) -> float:
    """Gives the seconds of audio that a run of segments covers."""
    return (length - 1) * hop_s + segment_s


def percent(cell: Mapping[str, Any]) -> str:
    """Writes a rate with its 95 % interval: "87.4 (85.9-88.8)"; a dash when nothing was asked."""
    if not cell["asked"]:
        return "-"
    low, high = (100 * cell[end] for end in ("low", "high"))
    return f"{100 * cell['rate']:.1f} ({low:.1f}-{high:.1f})"


def rows(hit_rates: Mapping[str, Any], *, hop_s: float, segment_s: float) -> tuple[list[str], list[list[str]]]:
    """Gives header and lines of the table of hit rates: a line per metric, a column per length."""
    lengths = list(hit_rates)
    header = ["%", *_named(lengths, hop_s=hop_s, segment_s=segment_s)]
    lines = [
        [LABELS[name], *(percent(hit_rates[length][name]) for length in lengths)]
        for name in METRICS
        if any(hit_rates[length][name]["asked"] for length in lengths)
    ]
    asked = [str(max(cell["asked"] for cell in hit_rates[length].values())) for length in lengths]
    return header, [*lines, ["queries", *asked]]


def _named(lengths: Sequence[str], **audio: float) -> list[str]:
    """Names columns by segments and seconds: "3 (2 s)"."""
    return [f"{length} ({seconds(int(length), **audio):g} s)" for length in lengths]


def clustered(
    hit_rates: Mapping[str, Any], ends: Mapping[str, Any], **audio: float
) -> tuple[list[str], list[list[str]]]:
    """Gives the table of hit rates with the bootstrap's intervals in place of Wilson's."""
    swapped = {
        length: {
            name: cell | dict(zip(("low", "high"), ends[length].get(name, (cell["low"], cell["high"]))))
            for name, cell in cells.items()
        }
        for length, cells in hit_rates.items()
    }
    return rows(swapped, **audio)


def compact(
    column: str, values: Mapping[str, Any], *, hop_s: float, segment_s: float
) -> tuple[list[str], list[list[str]]]:
    """Gives header and lines of hit rates by group, only the rates: a line per value and metric."""
    header, _ = rows(next(iter(values.values())), hop_s=hop_s, segment_s=segment_s)
    lines = []
    for name in ("exact", "song"):
        for value, hit_rates in values.items():
            cells = [hit_rates[length][name] for length in hit_rates]
            if any(cell["asked"] for cell in cells):
                rates = [f"{100 * c['rate']:.1f}" if c["asked"] else "-" for c in cells]
                lines.append([f"{LABELS[name]}, {value}", *rates])
    return [f"%, by {column}", *header[1:]], lines


def plain(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Lines up a table for the terminal."""
    widths = [max(len(row[i]) for row in (header, *lines)) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not i else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in (header, *lines)
    )


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Writes a Markdown table."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in (header, rule, *lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_csv(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Writes every cell on a line: group,length,metric,hits,asked,rate,low,high."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["group", "length", "metric", "hits", "asked", "rate", "low", "high"])
    for group, hit_rates in groups.items():
        for length, cells in hit_rates.items():
            for name, cell in cells.items():
                numbers = [cell[key] for key in ("rate", "low", "high")]
                written = ["" if _is_nothing(n) else f"{n:.6f}" for n in numbers]
                writer.writerow([group, length, name, cell["hits"], cell["asked"], *written])
    return out.getvalue()


def _is_nothing(number: float | None) -> bool:
    return number is None or math.isnan(number)


def open_set(found: Mapping[str, Any], **audio: float) -> tuple[list[str], list[list[str]]]:
    """Gives header and lines of the accept-or-reject table; with hop_s, segment_s in seconds, too."""
    lengths = list(found)
    header = ["%", *(_named(lengths, **audio) if audio else lengths)]
    lines = []
    for name in next(iter(found.values()))["verdicts"]:
        for key, label in (("accepted", "accepted and right"), ("false", "false accepts")):
            cells = [percent(found[length]["verdicts"][name][key]) for length in lengths]
            lines.append([f"{label}, by {name}", *cells])
    errors = [f"{100 * found[length]['calibration_error']:.1f}" for length in lengths]
    return header, [*lines, ["calibration error", *errors]]


def report(found: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Writes everything in results.json that is read as a table."""
    shape = markdown_table if markdown else plain
    audio = found["audio"]
    parts = [shape(*rows(found["hit_rates"], **audio))]
    if markdown and found["questions"]["songs"] < found["questions"]["all"]:
        text = shape(*clustered(found["hit_rates"], found["clustered"], **audio))
        parts.append(_titled("Intervals with whole recordings drawn (bootstrap)", text, markdown))
    for column, values in found["groups"].items():
        if not markdown:
            parts.append(plain(*compact(column, values, **audio)))
            continue
        for value, hit_rates in values.items():
            parts.append(_titled(f"{column} = {value}", shape(*rows(hit_rates, **audio)), markdown))
    if found["open_set"]:
        text = shape(*open_set(found["open_set"], **audio))
        parts.append(_titled("is it in the collection at all?", text, markdown))
    parts.append(_summary(found))
    return "\n\n".join(parts)


def _titled(title: str, text: str, markdown: bool) -> str:
    return f"**{title}**\n\n{text}" if markdown else f"{title}\n{text}"


def _summary(found: Mapping[str, Any]) -> str:
    """Says in a few lines with what, at what cost, and how sure."""
    about, timings, cost = found["index"], found["timings"], found["cost"]
    asked = found["questions"]
    lines = [
        f"Wilson 95 % intervals; {asked['known']} queries of {asked['songs']} recordings, "
        f"{about['rows']} rows searched",
        f"index {about['factory']}: {about['bytes'] / 2**20:.1f} MiB, "
        f"{cost['index_bytes_per_audio_s']:.1f} bytes per second of audio, "
        f"built in {timings['index_s']:.1f} s",
        f"search {timings['search_s']:.1f} s, matching {timings['match_s']:.1f} s: "
        f"{timings['ms_per_query']:.2f} ms per query for all lengths "
        f"({timings['cpu_ms_per_query']:.2f} ms of CPU)",
    ]
    if repeats := found.get("repeats"):
        n, elsewhere = ("/".join(map(str, repeats[k].values())) for k in ("counted", "other_track"))
        lines.append(
            f"exact repeats of what was asked for, counted as right: {n} by length; in another track: {elsewhere}"
        )
    if found["recall"]:
        best = found["recall"]["exact_nearest_among_neighbours"]
        lines.append(f"recall: the exact nearest row is among the neighbours of {100 * best:.1f} %")
    return "\n".join(lines)
