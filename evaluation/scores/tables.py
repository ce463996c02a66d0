"""Tables of hit rates: for the terminal, as Markdown and as CSV. A table is a header and lines of cells."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import tabulate

from nafp.jobs import shown

from .metrics import METRICS

Table = tuple[list[str], list[list[str]]]
LABELS = {
    "exact": "top-1 exact",
    "near": "top-1 near",
    "top3": "top-3 exact",
    "top10": "top-10 exact",
    "song": "song",
}


def seconds(length: int, *, hop_s: float, segment_s: float) -> float:
    """Returns the seconds of audio that `length` segments cover."""
    return (length - 1) * hop_s + segment_s


def percent(cell: Mapping[str, Any]) -> str:
    """Returns a rate with its 95 % interval, such as "87.4 (85.9-88.8)", or a dash if nothing was asked."""
    if not cell["asked"]:
        return "-"
    low, high = (100 * cell[end] for end in ("low", "high"))
    return f"{100 * cell['rate']:.1f} ({low:.1f}-{high:.1f})"


def rows(hit_rates: Mapping[str, Any], *, hop_s: float, segment_s: float) -> Table:
    """Returns the table of hit rates, with a line for each metric and a column for each length."""
    lengths = list(hit_rates)
    header = ["%", *named(lengths, hop_s=hop_s, segment_s=segment_s)]
    lines = [
        [LABELS[name], *(percent(hit_rates[length][name]) for length in lengths)]
        for name in METRICS
        if any(hit_rates[length][name]["asked"] for length in lengths)
    ]
    asked = [str(max(cell["asked"] for cell in hit_rates[length].values())) for length in lengths]
    return header, [*lines, ["queries", *asked]]


def named(lengths: Sequence[str], **audio: float) -> list[str]:
    """Returns the headings of lengths, in segments and seconds, such as "3 (2 s)". 0 segments are the whole clip."""
    return [f"{n} ({seconds(int(n), **audio):g} s)" if int(n) else "whole clip" for n in lengths]


def clustered(hit_rates: Mapping[str, Any], ends: Mapping[str, Any], **audio: float) -> Table:
    """Returns the table of hit rates with the bootstrap's intervals. ends: as `results.clustered` returns them."""
    swapped = {
        length: {
            name: cell | dict(zip(("low", "high"), ends[length].get(name, (cell["low"], cell["high"]))))
            for name, cell in cells.items()
        }
        for length, cells in hit_rates.items()
    }
    return rows(swapped, **audio)


def compact(column: str, values: Mapping[str, Any], *, hop_s: float, segment_s: float) -> Table:
    """Returns the table of hit rates by group, without intervals: a line for each metric and value of the column."""
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
    """Returns a table for the terminal: the first column to the left, the others to the right."""
    sides = ["left", *["right"] * (len(header) - 1)]
    # The header goes in as a line: tabulate would pad a column by two spaces if its heading is the widest cell.
    cells = [[shown.plain(cell) for cell in line] for line in (header, *lines)]
    return tabulate.tabulate(cells, tablefmt="plain", disable_numparse=True, colalign=sides)


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table. Unlike tabulate's, its cells are not padded, so that a diff shows what changed."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in (header, rule, *lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def as_csv(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns CSV with a line for each cell: group,length,metric,hits,asked,rate,low,high."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["group", "length", "metric", "hits", "asked", "rate", "low", "high"])
    for group, hit_rates in groups.items():
        for length, cells in hit_rates.items():
            for name, cell in cells.items():
                numbers = [cell[key] for key in ("rate", "low", "high")]
                written = ["" if number is None or math.isnan(number) else f"{number:.6f}" for number in numbers]
                writer.writerow([group, length, name, cell["hits"], cell["asked"], *written])
    return out.getvalue()


def open_set(judged: Mapping[str, Any], **audio: float) -> Table:
    """Returns the accept-or-reject table. With hop_s and segment_s, the headings name seconds, too."""
    lengths = list(judged)
    header = ["%", *(named(lengths, **audio) if audio else lengths)]
    lines = []
    for name in next(iter(judged.values()))["verdicts"]:
        for key, label in (("accepted", "accepted and right"), ("false", "false accepts")):
            cells = [percent(judged[length]["verdicts"][name][key]) for length in lengths]
            lines.append([f"{label}, by {name}", *cells])
    calibration = [f"{100 * judged[length]['calibration_error']:.1f}" for length in lengths]
    return header, [*lines, ["calibration error", *calibration]]


def report(record: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Returns all tables of an evaluation. record: what results.json holds."""
    shape = markdown_table if markdown else plain
    audio = record["audio"]
    parts = [shape(*rows(record["hit_rates"], **audio))]
    if markdown and record["questions"]["songs"] < record["questions"]["all"]:
        text = shape(*clustered(record["hit_rates"], record["clustered"], **audio))
        parts.append(_titled("Intervals with whole recordings drawn (bootstrap)", text, markdown))
    for column, values in record["groups"].items():
        if not markdown:
            parts.append(plain(*compact(column, values, **audio)))
            continue
        for value, hit_rates in values.items():
            parts.append(_titled(f"{column} = {value}", shape(*rows(hit_rates, **audio)), markdown))
    if record["open_set"]:
        text = shape(*open_set(record["open_set"], **audio))
        parts.append(_titled("is it in the collection at all?", text, markdown))
    parts.append(_summary(record))
    return "\n\n".join(parts)


def _titled(title: str, text: str, markdown: bool) -> str:
    return f"**{title}**\n\n{text}" if markdown else f"{title}\n{text}"


def _summary(record: Mapping[str, Any]) -> str:
    """Returns a few lines about the intervals, the index, the time and the cost."""
    questions = record["questions"]
    if "answers" in record:
        return f"Wilson 95 % intervals; {questions['known']} queries of {questions['songs']} recordings"
    index, timings, cost = record["index"], record["timings"], record["cost"]
    lines = [
        f"Wilson 95 % intervals; {questions['known']} queries of {questions['songs']} recordings, "
        f"{index['rows']} rows searched",
        f"index {index['factory']}: {index['bytes'] / 2**20:.1f} MiB, "
        f"{cost['index_bytes_per_audio_s']:.1f} bytes per second of audio, "
        f"built in {timings['index_s']:.1f} s",
        f"search {timings['search_s']:.1f} s, matching {timings['match_s']:.1f} s: "
        f"{timings['ms_per_query']:.2f} ms per query for all lengths "
        f"({timings['cpu_ms_per_query']:.2f} ms of CPU)",
    ]
    if repeats := record.get("repeats"):
        n, elsewhere = ("/".join(map(str, repeats[key].values())) for key in ("counted", "other_track"))
        lines.append(
            f"exact repeats of what was asked for, counted as right: {n} by length; in another track: {elsewhere}"
        )
    if record["recall"]:
        best = record["recall"]["exact_nearest_among_neighbours"]
        lines.append(f"recall: the exact nearest row is among the neighbours of {100 * best:.1f} %")
    return "\n".join(lines)
