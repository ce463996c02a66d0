"""`nafp add`: puts recordings into a database, which is made if it is missing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from nafp import errors
from nafp.audio import decode
from nafp.corpora import lists
from nafp.database import database, from_audio, song_list
from nafp.jobs import shown
from nafp.weights import sources

DONE, NOTHING = 0, 1  # Exit codes.
_MOST_LINES = 20  # Files to name of each kind.


def run(
    folder: str,
    names: Sequence[str],
    *,
    checkpoint: str | None = None,
    storage: str | None = None,
    hop_s: float | None = None,
    peaks: bool | None = None,
    tags: Sequence[str] = (),
    runtime: str = "auto",
    batch_size: int = 0,
    threads: int | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> int:
    """Adds recordings, prints what became of them, and returns the exit code.

    names: as `nafp.database.from_audio.listed` takes them. checkpoint, storage, hop_s, peaks: of a new database, or to
    compare with one that is there. tags: metadata as KEY=VALUE. prepare: called before JAX is used. Raises
    errors.Invalid, before anything is made, for a name or tag that cannot be right.
    """
    began_s, audio, metadata = time.monotonic(), from_audio.matching(names), parsed(tags)
    if sources.chosen(runtime) == "jax":
        prepare()
    opened = database.open_or_create(folder, checkpoint=checkpoint, storage=storage, hop_s=hop_s, peaks=peaks)
    with opened, decode.hushed():  # Decoders write remarks past Python.
        report = opened.add(audio, metadata=metadata, runtime=runtime, batch_size=batch_size, threads=threads)
        song_list.note(folder, _listed(audio))
        n_tracks = len(opened)
    print(described(report, folder, n_tracks=n_tracks, wall_s=time.monotonic() - began_s))
    return DONE if report.added or report.unchanged or report.known or report.renamed else NOTHING


def _listed(audio: Sequence[str]) -> list[str]:
    """Returns the paths of the music in the lists among these names, without lists that cannot be read."""
    paths: list[str] = []
    for name in filter(lists.is_list, audio):
        with contextlib.suppress(errors.Error):  # The report names it.
            paths += [track.path for track in lists.read(name) if track.kind == "music"]
    return paths


def parsed(tags: Sequence[str]) -> dict[str, str]:
    """Reads metadata given as KEY=VALUE. Raises errors.Invalid for anything else."""
    pairs = [tag.partition("=") for tag in tags]
    for key, equals, value in pairs:
        if not key or not equals:
            raise errors.Invalid(f"--tag={key}{value}: KEY=VALUE is needed, such as --tag=artist=Somebody")
        if not f"{key}{value}".isprintable() or any("\ud800" <= letter <= "\udfff" for letter in key + value):
            raise errors.Invalid(f"--tag={key}={value!a}: is not printable text in UTF-8")
    return {key: value for key, _, value in pairs}


def described(report: from_audio.AddReport, folder: str, *, n_tracks: int, wall_s: float) -> str:
    """Writes the closing lines: what was added and how fast, what was there, and which files gave trouble.

    n_tracks: tracks of the whole database. wall_s: time that it took.
    """
    speed = f", {report.seconds / max(wall_s, 1e-9):.0f} x real time" if report.seconds else ""
    lines = [
        f"{folder}: {len(report.added)} tracks added ({report.seconds:.0f} s of audio in {wall_s:.1f} s{speed}); "
        f"{n_tracks} tracks"
    ]
    if report.unchanged:
        lines.append(f"{report.unchanged} were there already")
    known = [(path, f"the same audio as {track}") for path, track in report.known]
    replaced = [(name, "has other audio than before") for name in report.replaced]
    lines += _named("there under another name", known)
    lines += _named("renamed, because their audio is in another file now", report.renamed, "is now")
    lines += _named("replaced", replaced)
    lines += [f"{len(report.described)} got other metadata"] if report.described else []
    lines += _named("skipped", report.failures)
    lines += _named("damaged", report.damaged)
    return "\n".join(lines)


def _named(kind: str, files: Sequence[tuple[str, str]], between: str = "") -> list[str]:
    """Writes how many files are of a kind, and names them with the reason."""
    if not files:
        return []
    marked = f" {between}" if between else ":"
    named = [shown.plain(f"  {path}{marked} {reason}") for path, reason in files[:_MOST_LINES]]
    lines = [f"{len(files)} {kind}:", *named]
    return [*lines, f"  and {len(files) - _MOST_LINES} more"] if len(files) > _MOST_LINES else lines
