"""The report of an evaluation: one self-contained HTML page, and its pictures as PNG files beside it."""

import base64
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2

from nafp.jobs import outputs

from . import pictures, results, tables

TITLES = {
    "overview": "At a glance",
    "hit_rate_by_length": "Hit rate against query length",
    "hit_rate_by_snr": "Hit rate against signal-to-noise ratio",
    "hit_rate_by_condition": "Hit rate by condition",
    "accept_or_reject": "Accept or reject",
    "similarity": "Similarity of right and wrong matches",
}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def require_out(folder: str) -> None:
    """Raises nafp.errors.Invalid if `write` would replace files that are no former report."""
    formers = {"index.html": lambda head: b"<title>nafp: hit rates</title>" in head}
    formers |= {f"{name}.png": outputs.never for name in TITLES}
    place = pathlib.Path(folder)
    files = {str(place / name): former for name, former in formers.items()}
    outputs.require_set(files, verb="nafp evaluate", flag="--report")


def write(folder: str, record: dict[str, Any], scored: results.Scored) -> pathlib.Path:
    """Writes FOLDER/index.html and a PNG file for each picture, and returns the path of the page.

    record: what results.json holds.
    """
    place = pathlib.Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    figures = pictures.all_of(record, scored)
    images = {name: pictures.as_png(figure) for name, figure in figures.items()}
    for name, image in images.items():
        (place / f"{name}.png").write_bytes(image)
    page = place / "index.html"
    page.write_text(_page(record, images), encoding="utf-8")
    return page


def _page(record: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    audio = record["audio"]
    groups = [
        (f"{column} = {value}", tables.rows(hit_rates, **audio))
        for column, values in record["groups"].items()
        for value, hit_rates in values.items()
    ]
    return _TEMPLATES.get_template("report.html").render(
        hit_rates=tables.rows(record["hit_rates"], **audio),
        questions=record["questions"],
        index=record["index"],
        pictures=[_picture(name, image, record) for name, image in images.items()],
        groups=groups,
        costs=costs(record),
        command=record["run"]["command"],
        stores=_stores(record),
        machine={name: value for name, value in record["run"].items() if name not in ("command", "settings")},
    )


def _picture(name: str, image: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the template shows of a picture. table: the numbers to set below it, or None."""
    return {
        "title": TITLES.get(name, name),
        "source": f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}",
        "table": tables.open_set(record["open_set"], **record["audio"]) if name == "accept_or_reject" else None,
    }


def costs(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
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


def _stores(record: Mapping[str, Any]) -> list[str]:
    """Returns a line for each store that was evaluated."""
    return [
        f"{side} {store['folder']}/{store['name']}: {store['rows']} rows, {store['digest'][:12]}"
        for side in ("query", "database", "unknown")
        for store in record["stores"][side]
    ]
