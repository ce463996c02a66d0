"""Background noise out of AudioSet: which clips its tables call for, and which of them are here.

    {balanced_train,unbalanced_train,eval}_segments.csv
                     three lines of remarks; YTID, start_seconds, end_seconds, "label,label"
    ontology.json    a list of {id, name, child_ids, ...}: the tree of labels

AudioSet has tables only; the audio is whoever's who downloaded it, named by the clip:
YTID.wav, YTID_30.wav (pfann's), Y-YTID.wav or YYTID.wav, YTID_30.000_40.000.wav, in any folder.
Wanted by default are the clips of subway noise without any music or singing (pfann's choice).
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nafp import errors
from nafp.corpora import manifest

KEEP, DROP = (
    ("/m/0195fx",),
    ("/m/04rlf", "/m/015lz1"),
)  # Subway, metro, underground; music, singing.
ONTOLOGY = "ontology.json"
_TABLE = re.compile(r"(.*_)?segments\.csv")
_ID = r"[A-Za-z0-9_-]{11}"
_START_END = r"(_(?P<start>\d+(\.\d+)?)(_\d+(\.\d+)?)?)?"
_NAMES = [re.compile(f"{prefix}(?P<id>{_ID}){_START_END}") for prefix in ("", "Y-", "Y")]


class Clip(NamedTuple):
    """Ten seconds of a video. labels: ids of the ontology; split: train, or test for eval."""

    video: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    split: str


def read_ontology(path: str | os.PathLike) -> dict[str, dict]:
    """Reads ontology.json: label id -> its entry."""
    try:
        with open(path, encoding="utf-8") as file:
            return {entry["id"]: entry for entry in json.load(file)}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise errors.Invalid(f"{os.fspath(path)}: not AudioSet's ontology ({error})") from None


def with_descendants(ontology: dict[str, dict], labels: Iterable[str]) -> set[str]:
    """Gives these labels, by id or name, and all below them. Raises ValueError for unknown ones."""
    by_name = {entry["name"].lower(): label for label, entry in ontology.items()}
    found: set[str] = set()
    left = []
    for label in labels:
        known = label if label in ontology else by_name.get(label.lower())
        if known is None:
            raise errors.Invalid(f"AudioSet has no label {label!r}; give an id (/m/0195fx) or a name")
        left.append(known)
    while left:
        label = left.pop()
        if label not in found:
            found.add(label)
            left += ontology.get(label, {}).get("child_ids", ())
    return found


def read_clips(path: str | os.PathLike) -> list[Clip]:
    """Reads a table of clips."""
    name = os.path.basename(path)
    split = "test" if name.startswith("eval") else "train"
    clips = []
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file, skipinitialspace=True)
        for row in rows:
            if not row or row[0].startswith("#"):
                continue
            try:
                video, start, end, labels = row
                clips.append(Clip(video, float(start), float(end), _labels(labels), split))
            except ValueError:
                where = f"{os.fspath(path)}, line {rows.line_num}"
                raise errors.Invalid(f"{where}: {row} is no clip: YTID, start, end, labels") from None
    return clips


def wanted(folder: str, *, keep: Sequence[str] = (), drop: Sequence[str] = ()) -> tuple[list[Clip], dict[str, str]]:
    """Chooses the clips that have a label to keep and none to drop; also names of all labels.

    folder: of the tables and ontology.json. keep, drop: ids or names, each with all below it.
    """
    tables = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if _TABLE.fullmatch(name)]
    ontology_file = os.path.join(folder, ONTOLOGY)
    if not tables or not os.path.exists(ontology_file):
        raise errors.Invalid(
            f"{folder}: AudioSet's tables (balanced_train_segments.csv, ...) and {ONTOLOGY} are "
            "needed there; or say --metadata=FOLDER"
        )
    ontology = read_ontology(ontology_file)
    good = with_descendants(ontology, keep or KEEP)
    bad = with_descendants(ontology, drop or DROP)
    clips = [
        clip
        for table in tables
        for clip in read_clips(table)
        if good.intersection(clip.labels) and not bad.intersection(clip.labels)
    ]
    return clips, {label: entry["name"] for label, entry in ontology.items()}


def scan(
    folder: str, *, metadata: str = "", keep: Sequence[str] = (), drop: Sequence[str] = (), **how
) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Lists the wanted clips that are below a folder, as noise; those that are not are failures.

    The group of a clip is its video. how: `show` and `jobs` of `manifest.fill`.
    """
    clips, names = wanted(metadata or folder, keep=keep, drop=drop)
    here = _by_video(manifest.audio_files(folder))
    tracks, missing = [], []
    for clip in clips:
        path = _file_of(clip, here)
        if path is None:
            missing.append(manifest.Failure(f"{clip.video} at {clip.start_s:g} s", "not there"))
            continue
        labels = ";".join(names.get(label, label) for label in clip.labels)
        video = f"audioset/{clip.video}"
        track = manifest.Track(path, 0.0, 0, 0, "noise", clip.split, video, (("labels", labels),))
        tracks.append(track)
    good, bad = manifest.fill(list({track.path: track for track in tracks}.values()), **how)
    return good, [*bad, *missing]


def write_wanted(path: str | os.PathLike, clips: Sequence[Clip]) -> None:
    """Writes clips as a table like AudioSet's own, for whatever downloads them."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("# YTID", "start_seconds", "end_seconds", "positive_labels"))
        for clip in clips:
            times = f"{clip.start_s:.3f}", f"{clip.end_s:.3f}"
            rows.writerow((clip.video, *times, ",".join(clip.labels)))


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.split(",") if label.strip())


def _by_video(paths: Iterable[str]) -> dict[str, list[tuple[float | None, str]]]:
    """Sorts files by the video their names may mean: (start in seconds, if told, path)."""
    found: dict[str, list[tuple[float | None, str]]] = {}
    for path in paths:
        stem = os.path.splitext(os.path.basename(path))[0]
        for pattern in _NAMES:
            if match := pattern.fullmatch(stem):
                start = float(match["start"]) if match["start"] else None
                found.setdefault(match["id"], []).append((start, path))
    return found


def _file_of(clip: Clip, here: dict[str, list[tuple[float | None, str]]]) -> str | None:
    """Finds the file of a clip; a start may be told in seconds, whole ones too, or milliseconds."""
    for start, path in here.get(clip.video, ()):
        times = (None, clip.start_s, float(int(clip.start_s)), 1000 * clip.start_s)
        if start in times:
            return path
    return None
