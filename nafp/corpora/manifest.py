"""The manifest: a CSV file that lists tracks, what each audio file is, and which split it belongs to.

The columns are path, seconds, sample_rate_hz, channels, kind, split, group. Only `path` is required. Other columns are
kept unchanged. Paths are relative to the CSV's own folder, or absolute.
"""

import csv
import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple, TypeVar

from nafp import errors
from nafp.audio import decode
from nafp.corpora import kinds, list_text
from nafp.jobs import processors, progress, shown, whole_files

Number = TypeVar("Number", int, float)
_MOST = 1e9  # No number is larger: it is 30 years in seconds, and more hertz or channels than any sound has.

COLUMNS = ("path", "seconds", "sample_rate_hz", "channels", "kind", "split", "group")
_FOREIGN_COLUMNS = {"file": "path", "duration": "seconds", "sample_rate": "sample_rate_hz"}
_ON_ERROR = "surrogateescape"  # File names are bytes, not text.


class Track(NamedTuple):
    """An audio file. seconds, sample_rate_hz, channels: 0 if unknown.

    kind: one of kinds.KINDS. split: one of kinds.SPLITS. group: tracks of one group belong into one split, such as an
    album or a package; in the original dataset db or query. extra: names and values of the other columns.
    """

    path: str
    seconds: float = 0.0
    sample_rate_hz: int = 0
    channels: int = 0
    kind: str = "music"
    split: str = ""
    group: str = ""
    extra: tuple[tuple[str, str], ...] = ()


class Failure(NamedTuple):
    """A file that cannot be used, and why."""

    path: str
    reason: str


def scan(
    folders: str | Sequence[str],
    *,
    kind: str = "",
    split: str = "",
    by_folder: bool = True,
    jobs: int = 0,
    show: bool = False,
) -> tuple[list[Track], list[Failure]]:
    """Lists the audio files below these folders (or files), sorted by path, and reads their headers.

    kind, split: those of all tracks. "" guesses them from the path (see `kinds`). by_folder: whether any path is
    guessed from; otherwise only one in the original authors' tree. jobs: the number of threads, 0 for two per
    processor. show: whether to show progress. Returns the tracks, and the files and folders that cannot be read. Raises
    errors.Invalid if a folder is missing, or if there is no audio file at all.
    """
    folders = [folders] if isinstance(folders, str) else list(folders)
    unread: list[Failure] = []
    _check(kind, kinds.KINDS, "kind")
    _check(split, kinds.SPLITS, "split")
    places = _find(folders, by_folder, unread)
    if not places:
        wanted = " ".join(sorted(decode.SNDFILE | decode.FFMPEG))
        refused = "".join(f"; {failure.path}: {failure.reason}" for failure in unread[:3])
        raise errors.Invalid(f"no audio files below {', '.join(folders)}; looked for {wanted}{refused}")
    tracks = [
        Track(path, kind=kind or place.kind, split=split or place.split, group=place.group)
        for path, place in places.items()
    ]
    tracks, failures = fill(tracks, jobs=jobs, show=show)
    return tracks, [*unread, *failures]


def fill(tracks: Sequence[Track], *, jobs: int = 0, show: bool = False) -> tuple[list[Track], list[Failure]]:
    """Reads the headers of the tracks whose seconds are unknown. Returns all tracks, and the unreadable files."""
    results: list[Track | Failure] = []
    with (
        futures.ThreadPoolExecutor(jobs or 2 * processors.count()) as pool,
        progress.Progress(len(tracks), "files", label="scan", show=show) as bar,
    ):
        for result in pool.map(_header, tracks):
            results.append(result)
            bar.add()
    tracks = [result for result in results if isinstance(result, Track)]
    return tracks, [result for result in results if isinstance(result, Failure)]


def read(path: str | os.PathLike, *, root: str = "") -> list[Track]:
    """Reads a manifest. Raises errors.Invalid, with the line, for a value that cannot be right.

    root: the folder that relative paths start from, "" for the manifest's own.
    """
    path = os.path.abspath(path)
    folder = os.path.abspath(root) if root else os.path.dirname(path)
    text = list_text.read(path, missing="; nafp corpus scan writes a manifest")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = [_FOREIGN_COLUMNS.get(name, name) for name in rows.fieldnames or []]
        if "path" not in columns:
            raise errors.Invalid(f"{path}: columns {columns}; a column named path is needed")
        rows.fieldnames = columns
        tracks = [_track(row, folder, f"{path}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise errors.Invalid(f"{path}, line {rows.line_num + 1}: {error}; is a quote left open?") from None
    if not tracks:
        raise errors.Invalid(f"{path}: names no file; nafp corpus scan DIR --out={path} fills it")
    check_unique(tracks, path)
    return tracks


def write(path: str | os.PathLike, tracks: Iterable[Track]) -> None:
    """Writes a manifest, which appears whole or not at all. Paths below its folder are relative to it."""
    path, tracks = os.path.abspath(path), list(tracks)
    foreign = list(dict.fromkeys(name for track in tracks for name, _ in track.extra))
    with whole_files.opened(path, newline="", encoding="utf-8", errors=_ON_ERROR) as file:
        writer = csv.DictWriter(file, [*COLUMNS, *foreign], restval="")
        writer.writeheader()
        writer.writerows(_row(track, os.path.dirname(path)) for track in tracks)


def assign_splits(tracks: Sequence[Track], *, val: float = 0.0, test: float = 0.0) -> list[Track]:
    """Returns the tracks with a split for all music: shares `val` and `test` of the groups, the rest train.

    The hash of a group's name decides its split, so a track keeps its split when others are added. A track without a
    group is a group by itself. A split that a track has is kept.
    """
    if not 0 <= val + test <= 1 or min(val, test) < 0:
        raise errors.Invalid(f"shares val {val} and test {test} given; they are parts of 1")

    def chosen(track: Track) -> str:
        if track.split or track.kind != "music":
            return track.split
        name = (track.group or os.path.basename(track.path)).encode(errors="surrogateescape")
        share = int.from_bytes(hashlib.sha256(name).digest()[:8]) / 2**64
        return "test" if share < test else "val" if share < test + val else "train"

    return [track._replace(split=chosen(track)) for track in tracks]


def summary(rows: Iterable[tuple[str, str, float]]) -> str:
    """Returns the numbers of tracks and hours of rows (kind, split, seconds), in one line, without unknown hours."""
    n_tracks: Counter[tuple[str, str]] = Counter()
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for kind, split, track_s in rows:
        n_tracks[kind, split] += 1
        seconds[kind, split] += track_s
    return ", ".join(
        " ".join(filter(None, [kind, split, f"{n_tracks[kind, split]:,}"]))
        + (f" ({seconds[kind, split] / 3600:.2f} h)" if seconds[kind, split] else "")
        for kind, split in sorted(n_tracks)
    )


def report(failures: Sequence[Failure], what: str) -> str:
    """Returns a text that lists the failures with their number and reasons, "" if there are none."""
    if not failures:
        return ""
    lines = [shown.plain(f"  {failure.path}: {failure.reason}") + "\n" for failure in failures]
    return f"{len(failures)} file{'s' if len(failures) > 1 else ''} {what}:\n{''.join(lines)}"


def check_unique(tracks: Iterable[Track], where: str) -> None:
    """Raises errors.Invalid if a path is listed twice. where: the list, as the message calls it."""
    repeated = [path for path, n in Counter(track.path for track in tracks).items() if n > 1]
    if repeated:
        raise errors.Invalid(f"{where}: lists {repeated[0]} twice ({len(repeated)} such files); keep one row")


def audio_files(folder: str | os.PathLike) -> list[str]:
    """Returns the paths of the audio files below a folder, sorted.

    Raises errors.Invalid if the folder is missing, or if one in it cannot be read.
    """
    folder = os.path.abspath(folder)
    if not os.path.isdir(folder):
        raise errors.Invalid(f"{folder}: no such folder")
    unread: list[Failure] = []
    files = list(_walk(folder, unread))
    if unread:
        raise errors.Invalid(f"{unread[0].path}: {unread[0].reason}")
    return files


def _find(folders: Sequence[str], by_folder: bool, unread: list[Failure]) -> dict[str, kinds.Place]:
    """Returns the audio files below these folders, sorted by path, with the kind, split and group that paths tell.

    unread: gets the folders that cannot be read.
    """
    places = {}
    for folder in map(os.path.abspath, folders):
        if os.path.isdir(folder):
            for path in _walk(folder, unread):
                inside = os.path.relpath(path, folder) if by_folder else os.path.basename(path)
                places[path] = kinds.place(path, inside)
        elif os.path.isfile(folder):
            places[folder] = kinds.place(folder, os.path.basename(folder))
        else:
            raise errors.Invalid(f"{folder}: no such folder or file")
    return dict(sorted(places.items()))


def _walk(folder: str, unread: list[Failure]) -> Iterator[str]:
    """Yields the audio files below a folder, at any depth. Links are followed, each folder only once.

    Hidden files are left out. unread: gets the folders that cannot be read.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [(folder, True)]
    while waiting:
        path, is_folder = waiting.pop()
        if is_folder:
            waiting += reversed(_entries(path, entered, unread))
        else:
            yield path


def _entries(folder: str, entered: set[tuple[int, int]], unread: list[Failure]) -> list[tuple[str, bool]]:
    """Returns the paths of the folders and audio files in a folder, sorted, and whether each is a folder.

    entered: device and number of the folders that were entered, to which this one is added.
    """
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            return []
        entered.add((status.st_dev, status.st_ino))
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        unread.append(Failure(folder, f"the folder cannot be read: {error.strerror}"))
        return []
    shown = [(entry, _is_folder(entry)) for entry in entries if not entry.name.startswith(".")]
    return [(entry.path, is_folder) for entry, is_folder in shown if is_folder or _is_audio(entry.name)]


def _is_audio(name: str) -> bool:
    """Returns whether a file is named like audio."""
    return os.path.splitext(name)[1].lower() in decode.SNDFILE | decode.FFMPEG


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link to itself. If it is named like audio, it is reported as a file that cannot be read.
        return False


def _header(track: Track) -> Track | Failure:
    if track.seconds:
        return track
    try:
        info = decode.probe(track.path)
    except errors.Undecodable as error:
        return Failure(track.path, error.reason)
    return track._replace(seconds=round(info.seconds, 3), sample_rate_hz=info.sample_rate_hz, channels=info.channels)


def _track(row: dict[str, str], folder: str, where: str) -> Track:
    path = os.path.join(folder, list_text.existing(row["path"] or "", folder))
    if not row["path"]:
        raise errors.Invalid(f"{where}: no path")
    kind, split = row.get("kind") or "music", row.get("split") or ""
    known_kind = kinds.known_kind(kind, row["path"])
    if not known_kind:
        _check(kind, (*kinds.KINDS, *kinds.FOREIGN_KINDS), f"{where}: kind")
    if split and not kinds.known_split(split):
        _check(split, kinds.SPLITS, f"{where}: split")
    return Track(
        os.path.normpath(path),
        _number(row.get("seconds"), float, f"{where}: seconds"),
        _number(row.get("sample_rate_hz"), _whole, f"{where}: sample_rate_hz"),
        _number(row.get("channels"), _whole, f"{where}: channels"),
        known_kind,
        kinds.known_split(split),
        list_text.words(row.get("group") or ""),
        tuple(_extra(name, text) for name, text in row.items() if name and name not in COLUMNS),
    )


def _extra(name: str, text: str | None) -> tuple[str, str]:
    return list_text.words(name), list_text.words(text or "")


def _row(track: Track, folder: str) -> dict[str, object]:
    inside = track.path.startswith(folder.rstrip(os.sep) + os.sep)
    path = os.path.relpath(track.path, folder) if inside else track.path
    return {**dict(track.extra), **dict(zip(COLUMNS, track._replace(path=path)))}


def _whole(text: str) -> int:
    """Returns the whole number in a text. "44100.0" is one: programs write it so if other rows have none."""
    number = float(text)
    if not number.is_integer():
        raise ValueError
    return int(number)


def _number(text: str | None, convert: Callable[[str], Number], where: str) -> Number:
    try:
        value = convert(text or "0")
    except (ValueError, OverflowError):
        value = convert("-1")
    if not 0 <= value < float("inf"):
        kind = "number" if convert is float else "whole number"
        raise errors.Invalid(f"{where}: {text!r} is not a {kind} of at least 0")
    if value > _MOST:
        raise errors.Invalid(f"{where}: {text!r} cannot be true; leave it empty, and the file is asked")
    return value


def _check(word: str, allowed: Sequence[str], what: str) -> None:
    if word and word not in allowed:
        listing = ", ".join(filter(None, allowed))
        raise errors.Invalid(f"{what} {word!r} is unknown; one of {listing}")
