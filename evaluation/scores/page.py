"""The report of an evaluation: one self-contained HTML page, and its pictures as PNG files beside it.

The page itself needs no matplotlib; the PNG files do.
"""

from __future__ import annotations

import importlib.util
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from nafp.jobs import outputs

from ..pages import layout, panels
from . import distributions, pictures, results, tables

_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_VERB = "nafp evaluate"
_OLD_MARK = b"<title>nafp: hit rates</title>"  # In the pages of versions up to 0.2.
_IMAGES = ("accept_or_reject.png", "overview.png", "similarity.png")  # Besides those of hit rates.
_RATE = re.compile(r"(\S+) \((\S+)-(\S+)\)")
_Cell = str | tuple[str, str]


def require_out(folder: str) -> None:
    """Raises nafp.errors.Invalid if `write` would replace files that are no former report."""
    place, is_ours = pathlib.Path(folder), layout.is_made_by(_VERB)
    images = {*(place / name for name in _IMAGES), *place.glob("hit_rate_by_*.png")}
    files: dict[str, outputs.IsFormer] = {str(path): outputs.never for path in sorted(images)}
    files[str(place / "index.html")] = lambda head: is_ours(head) or _OLD_MARK in head
    outputs.require_set(files, verb=_VERB, flag="--report")


def write(folder: str, record: dict[str, Any], scored: results.Scored) -> pathlib.Path:
    """Writes FOLDER/index.html and a PNG file for each picture, and returns the path of the page.

    record: what results.json holds. Without matplotlib or Pillow there are no PNG files.
    """
    place = pathlib.Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    if draws_files():
        _write_files(place, record, scored)
    page = place / "index.html"
    page.write_text(_page(record, scored), encoding="utf-8")
    return page


def draws_files() -> bool:
    """Returns whether the libraries that PNG files need are installed."""
    return all(importlib.util.find_spec(name) for name in ("matplotlib", "PIL"))


def _write_files(place: pathlib.Path, record: Mapping[str, Any], scored: results.Scored) -> None:
    from ..pages import images

    for panel in singles(record, scored):
        (place / f"{panel.name}.png").write_bytes(images.png([panel]))
    (place / "overview.png").write_bytes(images.png(overview(record, scored), columns=2))
    spread = [panel for n in distributions.lengths_of(scored) for panel in distributions.both(record, scored, n)]
    (place / "similarity.png").write_bytes(images.png(spread, columns=2))


def singles(record: Mapping[str, Any], scored: results.Scored) -> list[panels.Panel]:
    """Returns the pictures of rates, and of accept or reject if there were unknown queries."""
    rates = [pictures.by_length(record), *pictures.rates(record, scored).values()]
    return [*rates, *([pictures.trade_off(record)] if record["open_set"] else [])]


def overview(record: Mapping[str, Any], scored: results.Scored) -> list[panels.Panel]:
    """Returns the four pictures that say most, for one file."""
    rates = pictures.rates(record, scored)
    score, margin = distributions.both(record, scored, distributions.middle(scored))
    last = pictures.trade_off(record) if record["open_set"] else score
    return [pictures.by_length(record), next(iter(rates.values()), score), margin, last]


def _page(record: Mapping[str, Any], scored: results.Scored) -> str:
    audio, first, drawn = record["audio"], distributions.middle(scored), pictures.rates(record, scored)
    others = [length for length in distributions.lengths_of(scored) if length != first]
    return layout.page(
        _TEMPLATES,
        "report.html",
        maker=_VERB,
        title="Hit rates",
        scripts=["picture.js"],
        facts=facts(record, scored),
        hit_rates=_split(tables.rows(record["hit_rates"], **audio)),
        questions=record["questions"],
        index=record["index"],
        by_length=pictures.by_length(record),
        groups=[_group(record, scored, column, drawn.get(column)) for column in pictures.columns(record, scored)],
        trade_off=pictures.trade_off(record) if record["open_set"] else None,
        open_set=_split(tables.open_set(record["open_set"], **audio)) if record["open_set"] else None,
        spread=distributions.both(record, scored, first),
        more_spread=[panel for length in others for panel in distributions.both(record, scored, length)],
        spread_table=_split(distributions.table(record, scored)),
        costs=costs(record),
        notes=record.get("notes", ()),
        command=record["run"]["command"],
        stores=_stores(record),
        machine=_machine(record["run"]),
    )


def facts(record: Mapping[str, Any], scored: results.Scored) -> list[tuple[str, str, str]]:
    """Returns what a reader wants first, as name, value and remark."""
    name, audio = pictures.metric(scored), record["audio"]
    lengths = sorted(record["hit_rates"], key=int)
    found = []
    for length in dict.fromkeys((lengths[0], lengths[(len(lengths) - 1) // 2], lengths[-1])):
        cell = record["hit_rates"][length][name]
        if cell["asked"]:
            value, interval = _cell(tables.percent(cell))
            query = f"{tables.seconds(int(length), **audio):g}\N{NO-BREAK SPACE}s"
            label = "right track" if name == "song" else "right place"
            found.append((f"{label} first, query of {query}", f"{value} %", interval))
    judged = record["open_set"] or {}
    for length in [lengths[(len(lengths) - 1) // 2]] if judged else []:
        verdict = judged.get(length, {}).get("verdicts", {}).get("probability")
        if verdict:
            query = f"{tables.seconds(int(length), **audio):g}\N{NO-BREAK SPACE}s"
            false = tables.percent(verdict["false"]).split(" ")[0]
            found.append(
                (
                    f"accepted and right, query of {query}",
                    f"{_cell(tables.percent(verdict['accepted']))[0]} %",
                    f"at {false} % false accepts",
                )
            )
    found.append(("CPU time of a query", f"{record['timings']['cpu_ms_per_query']:.2f} ms", "all lengths"))
    found.append(("index", f"{record['cost']['index_bytes_per_audio_s']:.0f} B", "for a second of audio"))
    return found


def _group(
    record: Mapping[str, Any], scored: results.Scored, column: str, picture: panels.Panel | None
) -> dict[str, Any]:
    """Returns what one column has: its picture, a table of the same numbers, and all metrics of each value."""
    audio, name = record["audio"], pictures.metric(scored)
    header = tables.rows(record["hit_rates"], **audio)[0]
    lines = [
        [pictures.shown(value), *(tables.percent(rates[length][name]) for length in rates)]
        for value, rates in pictures.groups_of(record, scored, column).items()
    ]
    return {
        "id": f"by-{pictures.file_name(column)}",
        "column": pictures.COLUMNS.get(column, column),
        "metric": pictures.LABELS[name],
        "picture": picture,
        "rates": _split((["dB" if column == "snr" else column, *header[1:]], lines)),
        "all": [
            (f"{column} = {value}", _split(tables.rows(rates, **audio)))
            for value, rates in record["groups"].get(column, {}).items()
        ],
    }


def costs(record: Mapping[str, Any]) -> tables.Table:
    """Returns header and lines of a table: what the index costs to keep and to search."""
    cost, timings, index = record["cost"], record["timings"], record["index"]
    return ["", "cost"], [
        ["index, bytes per second of audio", f"{cost['index_bytes_per_audio_s']:.1f}"],
        ["vectors, bytes per second of audio", f"{cost['vector_bytes_per_audio_s']:.1f}"],
        ["index, MiB", f"{index['bytes'] / 2**20:.1f}"],
        ["building the index, s", f"{timings['index_s']:.1f}"],
        ["ms per query, all lengths", f"{timings['ms_per_query']:.2f}"],
        ["ms of CPU per query, all lengths", f"{timings['cpu_ms_per_query']:.2f}"],
        ["peak memory, MiB", f"{timings['peak_memory_mb']:.0f}"],
    ]


def _stores(record: Mapping[str, Any]) -> tables.Table:
    """Returns a table with a line for each store that was evaluated."""
    lines = [
        [f"{side} {store['name']}", str(store["folder"]), f"{store['rows']:,}", store["digest"][:12]]
        for side in ("query", "database", "unknown")
        for store in record["stores"][side]
    ]
    return ["store", "folder", "rows", "digest"], lines


def _machine(run: Mapping[str, Any]) -> tables.Table:
    """Returns a table of where and with what an evaluation ran."""
    return ["", "value"], [[name, str(value)] for name, value in run.items() if name not in ("command", "settings")]


def _split(table: tables.Table) -> tuple[list[str], list[list[_Cell]]]:
    """Returns a table whose rates and intervals stand apart, so that the page can set one below the other."""
    header, lines = table
    return header, [[_cell(text) for text in line] for line in lines]


def _cell(text: str) -> Any:
    match = _RATE.fullmatch(text)
    return (match[1], f"{match[2]}–{match[3]}") if match else text
