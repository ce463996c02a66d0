"""`nafp info`: says how large a database is, and what it was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nafp.database import database
from nafp.jobs import progress, shown


def run(folder: str, *, format: str = "text") -> int:
    """Prints what a database says of itself, as text or json, and returns the exit code."""
    with database.Database.open(folder) as opened:
        info = opened.info()
    print(json.dumps(info) if format == "json" else in_words(info, folder))
    return 0


def in_words(info: Mapping[str, Any], folder: str) -> str:
    """Writes the result of `Database.info` for people."""
    hop_s, n_rows = info["hop_s"], info["fingerprints"]
    bytes_per_second = info["bytes"] / info["seconds"] if info["seconds"] else 0.0
    later = f", later as {info['wanted']}" if info.get("wanted") else ""
    lines = [
        f"{folder}: {info['tracks']} tracks, {progress.duration(info['seconds'])} of audio",
        f"{n_rows} fingerprints of {info['dim']} numbers, one every {hop_s:g} s, kept as {info['storage']}{later}",
        f"{info['bytes'] / 1e6:.1f} MB, {bytes_per_second:.0f} bytes a second; {info['index_files']} index files",
        f"network {info['network']['source']} (step {info['network']['step']}, {info['network']['sha256'][:12]})",
        f"made {info['created']}",
    ]
    if (engine := info["engine"])["kind"] != "local":
        lines.insert(3, f"searched by {engine['kind']} at {engine['uri']}: {engine['held']} fingerprints")
    if n_removed := info["removed_fingerprints"]:
        lines.append(f"{n_removed} fingerprints of removed tracks: nafp compact {folder} gives their space back")
    return shown.lines(lines)
