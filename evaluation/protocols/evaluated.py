"""The last stage of a protocol: evaluates stores, unless the same evaluation is there already."""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from nafp import errors
from nafp.identify import asking
from nafp.search import index_files, store

from ..scores import evaluate, results, stores
from ..scores import speeds as over_speeds

_NOTE = "evaluated.txt"  # In RESULTS: identifies the evaluation.
# All that an evaluation of a protocol writes into RESULTS.
_FILES = {_NOTE, "answers.npz", "confidence.json", "raw_score.npy", "results.json", "table.csv", "table.md"}
_FILES |= {"speeds.npy", "test_ids.npy"}


def evaluated(request: dict[str, Any], others: Sequence[str], *, show: bool) -> dict[str, Any]:
    """Evaluates, and returns what results.json holds.

    request: settings of evaluate.Request. others: stores of the same queries at other speeds.
    """
    out, key = pathlib.Path(request["out"]), _key(request, others)
    written = out / "results.json"
    if written.exists() and (out / _NOTE).exists() and (out / _NOTE).read_text() == key:
        if show:
            print(f"{out}: evaluated before, unchanged", flush=True)
        return json.loads(written.read_text(encoding="utf-8"))
    _clear(out)
    wanted = evaluate.Request(**request, show=False)
    if others:
        record = over_speeds.run(wanted, queries=[request["query"], *others])
    else:
        record = evaluate.run(wanted)
    (out / _NOTE).write_text(key)
    return record


def _clear(out: pathlib.Path) -> None:
    """Removes a former evaluation. Raises errors.AlreadyExists for a folder with anything else in it."""
    others = {path.name for path in out.iterdir()} - _FILES if out.is_dir() else set()
    if others:
        raise errors.AlreadyExists(f"{out}: holds {min(others)}, which no evaluation wrote; give another --out")
    results.require_out(out)
    shutil.rmtree(out, ignore_errors=True)


def at_speeds(name: str, speeds: str) -> list[tuple[str, float]]:
    """Returns the names and the speeds of the stores of queries at other speeds.

    name: of the store at speed 1. speeds: auto, or numbers with commas between them.
    """
    try:
        wanted = asking.SPEEDS if speeds == "auto" else [float(s) for s in speeds.split(",") if s]
    except ValueError:
        wanted = [-1.0]
    if not all(0 < speed < float("inf") for speed in wanted):
        raise errors.Invalid(f"evaluation.speeds = {speeds!r}: give auto, or numbers above 0 such as 0.97,1.03")
    return [(f"{name}@{speed:g}", float(speed)) for speed in wanted if speed != 1]


def rows(folder: str, name: str, lengths_s: Sequence[float]) -> list[int]:
    """Returns the number of rows in each length. A row is a segment, and the next row begins a hop later."""
    meta = store.Store.open(folder, name).meta
    n_rows = [int((s - meta["segment_s"]) / meta["hop_s"] + 1e-6) + 1 for s in lengths_s]
    if min(lengths_s) < meta["segment_s"]:
        raise errors.Invalid(
            f"lengths_s: {min(lengths_s):g} s is shorter than a segment of this network, {meta['segment_s']:g} s"
        )
    return n_rows


def _key(request: dict[str, Any], others: Sequence[str]) -> str:
    """Returns a hash of all that an evaluation depends on: its settings, fingerprints and truth."""
    names = {*others, request["query"], request.get("db", "db"), request["unknown"]}
    names.add(request.get("dummy") or stores.DUMMY)
    digests = [
        (folder, name, index_files.digest(store.Store.open(folder, name)))
        for folder in request["store"]
        for name in sorted(filter(None, names))
        if name in store.names(folder)
    ]
    truth = pathlib.Path(request["truth"]).read_bytes() if request["truth"] else b""
    return hashlib.sha256(repr((request, digests)).encode() + truth).hexdigest()
