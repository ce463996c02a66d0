"""A page that people look at: one self-contained HTML file, and its pictures as PNG beside it."""

import base64
import html
from pathlib import Path
from typing import Any

from . import pictures, results, tables

TITLES = {
    "overview": "At a glance",
    "hit_rate_by_length": "Hit rate against query length",
    "hit_rate_by_snr": "Hit rate against signal-to-noise ratio",
    "hit_rate_by_condition": "Hit rate by condition",
    "accept_or_reject": "Accept or reject",
    "similarity": "Similarity of right and wrong matches",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.8rem 0.25rem 0; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
.wide { overflow-x: auto; }
"""


def write(folder: str, found: dict[str, Any], scored: results.Scored) -> Path:
    """Writes FOLDER/index.html and a PNG per picture; returns the page's path."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    figures = pictures.all_of(found, scored)
    images = {}
    for name, figure in figures.items():
        images[name] = pictures.as_png(figure)
        (place / f"{name}.png").write_bytes(images[name])
    pictures.close(figures)
    page = place / "index.html"
    page.write_text(_page(found, images), encoding="utf-8")
    return page


def _page(found: dict[str, Any], images: dict[str, bytes]) -> str:
    audio = found["audio"]
    parts = [_table(*tables.rows(found["hit_rates"], **audio)), f"<p>{_about(found)}</p>"]
    for name, image in images.items():
        data = base64.b64encode(image).decode("ascii")
        title = TITLES.get(name, name)
        parts.append(f"<h2>{html.escape(title)}</h2>")
        parts.append(f'<img alt="{html.escape(title)}" src="data:image/png;base64,{data}">')
        if name == "accept_or_reject":
            parts.append(_table(*tables.open_set(found["open_set"], **audio)))
    for column, values in found["groups"].items():
        for value, rates in values.items():
            parts.append(f"<h2>{html.escape(f'{column} = {value}')}</h2>")
            parts.append(_table(*tables.rows(rates, **audio)))
    parts += ["<h2>Cost</h2>", _table(*costs(found)), "<h2>How to repeat it</h2>"]
    parts.append(f"<pre>{html.escape(_repeat(found))}</pre>")
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>nafp: hit rates</title>\n<style>{_STYLE}</style>\n<h1>Hit rates</h1>\n"
        + "\n".join(parts)
        + "\n</html>\n"
    )


def _table(header: list[str], lines: list[list[str]]) -> str:
    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = "\n".join(row(line, "td") for line in lines)
    return f'<div class="wide"><table>\n{row(header, "th")}\n{body}\n</table></div>'


def _about(found: dict[str, Any]) -> str:
    asked, about = found["questions"], found["index"]
    return html.escape(
        f"Top answers to {asked['known']} queries of {asked['songs']} recordings among "
        f"{about['rows']:,} fingerprints; percent, with Wilson 95 % intervals. "
        f"Index {about['factory']} ({about['reason']})."
    )


def costs(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Gives header and lines of what it costs to keep and to ask."""
    cost, timings, about = found["cost"], found["timings"], found["index"]
    return ["", "cost"], [
        ["index, bytes per second of audio", f"{cost['index_bytes_per_audio_s']:.1f}"],
        ["vectors, bytes per second of audio", f"{cost['vector_bytes_per_audio_s']:.1f}"],
        ["index, MiB", f"{about['bytes'] / 2**20:.1f}"],
        ["building the index, s", f"{timings['index_s']:.1f}"],
        ["ms per query, all lengths", f"{timings['ms_per_query']:.2f}"],
        ["ms of CPU per query, all lengths", f"{timings['cpu_ms_per_query']:.2f}"],
        ["peak memory, MiB", f"{timings['peak_memory_mb']:.0f}"],
    ]


def _repeat(found: dict[str, Any]) -> str:
    run = found["run"]
    stores = [
        f"{side} {one['folder']}/{one['name']}: {one['rows']} rows, {one['digest'][:12]}"
        for side in ("query", "database", "unknown")
        for one in found["stores"][side]
    ]
    machine = {k: v for k, v in run.items() if k not in ("command", "settings")}
    return "\n".join([run["command"], "", *stores, "", *(f"{k}: {v}" for k, v in machine.items())])
