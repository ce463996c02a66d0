"""A web page that needs no server of ours: the page, a network, and a small database that is searched in the browser.

FOLDER/index.html, FOLDER/page/            the page, as the server has it
FOLDER/offline.js                          keeps all of it in the browser for the time without a network
FOLDER/collection/fingerprints.bin         rows of all tracks, one after the other
FOLDER/collection/tracks.json              id, name, seconds, rows, metadata of each track
FOLDER/collection/network.onnx             samples in, fingerprints out
FOLDER/collection/about.json               counts, how clips are asked, constants of the search, calibration

A page is whole, or says that it is not: all files are written into a folder of their own first, and while they are
moved to their places about.json says that the page is unfinished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.database import database, index_segments
from nafp.identify import asking
from nafp.jobs import locks, whole_files
from nafp.search import parts, speeds
from nafp.serving import browser_network, page_files

DTYPES = ("float16", "int8")
LARGEST_ROWS = 200_000  # 28 hours: 51 MB as float16. Each row of a clip costs 0.05 s of a 2-core CPU to search for.
ABOUT = "collection/about.json"
_OFFLINE = "offline.js"
_STAGED, _LOCK = ".nafp-page.part", ".lock"
_UNFINISHED = {"unfinished": True}
_IS_STATIC = b'data-collection="files"'
_BLOCK = 4096
# A page from files says itself what its server would say in headers; frames can only be forbidden by a server.
_POLICY = page_files.POLICY.replace("; frame-ancestors 'none'", "")


class SiteReport(NamedTuple):
    """What was written. n_bytes: of all files."""

    n_tracks: int
    n_rows: int
    n_bytes: int


def write(folder: str | os.PathLike, opened: database.Database, *, dtype: str = "float16") -> SiteReport:
    """Writes the page and a database into a folder.

    dtype: of the fingerprints, one of DTYPES. Names of tracks lose their folders: they will be public. Raises
    errors.Invalid for an empty database, one of more than LARGEST_ROWS rows, a machine that cannot write ONNX, and a
    folder that another process is writing.
    """
    tracks = list(opened.tracks())
    n_rows = sum(track.n_rows for track in tracks)
    _require_small(opened, n_rows)
    network = browser_network.of(opened.folder)
    files = {name: file.data for name, file in page_files.files().items() if name != _OFFLINE}
    contents = {f"page/{name}": data for name, data in files.items() if name != page_files.INDEX}
    contents |= {
        page_files.INDEX: _index(files[page_files.INDEX]),
        "collection/fingerprints.bin": _rows(opened, tracks, dtype),
        "collection/tracks.json": _as_json(list(_records(tracks))),
        "collection/network.onnx": network.data,
        ABOUT: _as_json(_about(opened, tracks, n_rows, dtype)),
    }
    contents[_OFFLINE] = _offline(page_files.files()[_OFFLINE].data, contents)
    _put(pathlib.Path(folder), contents)
    return SiteReport(len(tracks), n_rows, sum(map(len, contents.values())))


def may_be_written(folder: pathlib.Path) -> bool:
    """Returns whether a folder is new, empty, or a page that was written before, to its end or not."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    index = folder / page_files.INDEX
    is_page = (folder / ABOUT).is_file() or (index.is_file() and _IS_STATIC in index.read_bytes())
    return is_page or {entry.name for entry in folder.iterdir()} <= {_STAGED}


def _put(folder: pathlib.Path, contents: dict[str, bytes]) -> None:
    """Writes files so that a page is the old one, the new one, or says that it is unfinished."""
    staged = folder / _STAGED
    staged.mkdir(parents=True, exist_ok=True)
    with _alone(folder, staged):
        for name, data in contents.items():
            _write(staged / name, data)
        _write(folder / ABOUT, _as_json(_UNFINISHED))
        # about.json is the last one that a visitor needs, and offline.js makes the browsers of earlier ones load anew.
        for name in (*(name for name in contents if name not in (ABOUT, _OFFLINE)), ABOUT, _OFFLINE):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / name, target)
            whole_files.sync_folder(target.parent)


@contextlib.contextmanager
def _alone(folder: pathlib.Path, staged: pathlib.Path) -> Iterator[None]:
    """Holds a folder for this process. Removes what was staged, also by a process that was killed."""
    try:
        held = locks.take(staged / _LOCK)
    except BlockingIOError:
        raise errors.Locked(f"--out={folder}: {locks.holder(staged / _LOCK)} is writing a page into it") from None
    with held:
        for entry in staged.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != _LOCK:
                entry.unlink()
        try:
            yield
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.opened(path, "wb") as file:
        file.write(data)


def _require_small(opened: database.Database, n_rows: int) -> None:
    if not n_rows:
        raise errors.Invalid(f"{opened.folder}: has no track to write")
    if n_rows > LARGEST_ROWS:
        raise errors.Invalid(
            f"{opened.folder}: {n_rows:,} fingerprints; a page searches {LARGEST_ROWS:,} at most, which are "
            f"{LARGEST_ROWS * opened.hop_s / 3600:.0f} h. nafp serve is for larger collections"
        )


def _rows(opened: database.Database, tracks: list[Any], dtype: str) -> bytes:
    """Returns the rows of all tracks as bytes. An int8 row is scaled to its largest number. Its length is known."""
    blocks = []
    for track in tracks:
        rows = opened.rows.read(track.first_row, track.first_row + track.n_rows)
        if dtype == "float16":
            blocks.append(rows.astype("<f2").tobytes())
        else:
            largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
            blocks.append(np.round(rows * (127 / largest)).astype(np.int8).tobytes())
    return b"".join(blocks)


def _records(tracks: list[Any]) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for track in tracks:
        name = pathlib.PurePath(track.name).name
        seen[name] = seen.get(name, 0) + 1
        yield {
            "id": track.id,
            "name": name if seen[name] == 1 else f"{name} ({seen[name]})",
            "seconds": round(track.seconds, 3),
            "rows": track.n_rows,
            "metadata": dict(track.metadata),
        }


def _about(opened: database.Database, tracks: list[Any], n_rows: int, dtype: str) -> dict[str, Any]:
    about, calibrated = opened.about, opened.confidence
    gain = float(np.linalg.norm(opened.rows.read(tracks[0].first_row, tracks[0].first_row + 1)))
    return {
        "tracks": len(tracks),
        "seconds": round(sum(track.seconds for track in tracks), 3),
        "fingerprints": n_rows,
        "asking": asking.rules(hop_s=opened.hop_s),
        "network": {
            "sha256": about["network"]["sha256"],
            "sample_rate_hz": about["sample_rate_hz"],
            "segment_s": about["segment_s"],
            "hop_s": opened.hop_s,
            "dim": about["dim"],
        },
        "index": {
            "dtype": dtype,
            "gain": gain,
            "law": law(k=index_segments.K),
            "calibration": calibrated.plain.as_record() if calibrated else None,
        },
    }


def law(*, k: int) -> dict[str, Any]:
    """Returns the constants of the search in a browser. k: neighbours of a row to look at."""
    return speeds.law() | {"k": k, "parts": parts.law() | {"aside_s": asking.ASIDE_S, "sure": asking.SURE}}


def _index(page: bytes) -> bytes:
    text = page.decode().replace('data-collection="server"', _IS_STATIC.decode())
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    return text.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}').encode()


def _offline(script: bytes, contents: dict[str, bytes]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(contents):
        digest.update(name.encode() + b"\0" + contents[name])
    version, files = f"nafp-{digest.hexdigest()[:16]}", ["./", *sorted(contents)]
    head = 'const VERSION = "", FILES = [];'
    return script.decode().replace(head, f"const VERSION = {version!r}, FILES = {json.dumps(files)};").encode()


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
