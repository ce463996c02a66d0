"""Background noise from AudioSet: the clips that its tables list by label, and the files of those that are present.

    {balanced_train,unbalanced_train,eval}_segments.csv
                     three lines of remarks; YTID, start_seconds, end_seconds, "label,label"
    ontology.json    a list of {id, name, child_ids, ...}: the tree of labels

AudioSet publishes tables only. The audio has to be downloaded elsewhere, into any folder, with a name made of the
clip: YTID.wav, YTID_30.wav (pfann's), Y-YTID.wav, YYTID.wav or YTID_30.000_40.000.wav. By default the clips of subway
noise without any music or singing are wanted (pfann's choice).
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from nafp import errors
from nafp.corpora import list_text, manifest
from nafp.jobs import whole_files

KEEP = ("/m/0195fx",)  # Subway, metro, underground.
DROP = ("/m/04rlf", "/m/015lz1")  # Music; singing.
ONTOLOGY = "ontology.json"
_TABLE = re.compile(r"(.*_)?segments\.csv")
_ID = r"[A-Za-z0-9_-]{11}"
_START_END = r"(_(?P<start>\d+(\.\d+)?)(_\d+(\.\d+)?)?)?"
_WANTED_COLUMNS = ("# YTID", "start_seconds", "end_seconds", "positive_labels")
WANTED_HEADER = ",".join(_WANTED_COLUMNS).encode()  # How a file of `write_wanted` begins.
_NAMES = [re.compile(f"{prefix}(?P<id>{_ID}){_START_END}") for prefix in ("", "Y-", "Y")]


class AudiosetClip(NamedTuple):
    """Ten seconds of a video. labels: ids of the ontology. split: "train", or "test" for the table of eval."""

    video: str
    start_s: float
    end_s: float
    labels: tuple[str, ...]
    split: str


def read_ontology(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Reads ontology.json. Returns the entry of each label by its id."""
    try:
        with open(path, encoding="utf-8") as file:
            return {entry["id"]: {**entry, "name": str(entry["name"])} for entry in json.load(file)}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise errors.Invalid(f"{os.fspath(path)}: not AudioSet's ontology ({error})") from None


def with_descendants(ontology: dict[str, dict[str, Any]], labels: Iterable[str]) -> set[str]:
    """Returns the ids of these labels, given by id or name, and of all labels below them.

    Raises errors.Invalid for an unknown label.
    """
    by_name = {entry["name"].lower(): label for label, entry in ontology.items()}
    descendants: set[str] = set()
    waiting = []
    for label in labels:
        label_id = label if label in ontology else by_name.get(label.lower())
        if label_id is None:
            raise errors.Invalid(f"AudioSet has no label {label!r}; give an id (/m/0195fx) or a name")
        waiting.append(label_id)
    while waiting:
        label = waiting.pop()
        if label not in descendants:
            descendants.add(label)
            waiting += ontology.get(label, {}).get("child_ids", ())
    return descendants


def read_clips(path: str | os.PathLike) -> list[AudiosetClip]:
    """Reads a table of clips. Raises errors.Invalid, with the line, for a file of anything else."""
    split = "test" if os.path.basename(path).startswith("eval") else "train"
    rows = csv.reader(io.StringIO(list_text.read(path), newline=""), skipinitialspace=True)
    clips = []
    try:
        for row in rows:
            if row and not row[0].startswith("#"):
                video, start, end, labels = row
                clips.append(AudiosetClip(video, float(start), float(end), _labels(labels), split))
    except (ValueError, csv.Error) as error:
        where = f"{os.fspath(path)}, line {rows.line_num}"
        raise errors.Invalid(f"{where}: not a clip ({error}); need YTID, start, end, labels") from None
    return clips


def wanted(
    folder: str, *, keep: Sequence[str] = (), drop: Sequence[str] = ()
) -> tuple[list[AudiosetClip], dict[str, str]]:
    """Returns the clips that have a label of `keep` and none of `drop`, and the name of every label by its id.

    folder: holds the tables and ontology.json. keep, drop: ids or names of labels, () for KEEP and DROP. Each counts
    with all labels below it.
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    tables = [os.path.join(folder, name) for name in names if _TABLE.fullmatch(name)]
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
    folder: str,
    *,
    metadata: str = "",
    keep: Sequence[str] = (),
    drop: Sequence[str] = (),
    jobs: int = 0,
    show: bool = False,
) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Lists the wanted clips below a folder as noise. A wanted clip without a file is a failure.

    metadata, keep, drop: as for `wanted`. The group of a clip is its video. jobs, show: as for `manifest.fill`.
    """
    clips, names = wanted(metadata or folder, keep=keep, drop=drop)
    files = _by_video(manifest.audio_files(folder))
    tracks, missing = [], []
    for clip in clips:
        path = _file_of(clip, files)
        if path is None:
            missing.append(manifest.Failure(f"{clip.video} at {clip.start_s:g} s", "not there"))
            continue
        labels = ";".join(names.get(label, label) for label in clip.labels)
        video = f"audioset/{clip.video}"
        track = manifest.Track(path, 0.0, 0, 0, "noise", clip.split, video, (("labels", labels),))
        tracks.append(track)
    good, bad = manifest.fill(list({track.path: track for track in tracks}.values()), jobs=jobs, show=show)
    return good, [*bad, *missing]


def write_wanted(path: str | os.PathLike, clips: Sequence[AudiosetClip]) -> None:
    """Writes clips as a table like AudioSet's own, for a program that downloads them."""
    with whole_files.opened(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(_WANTED_COLUMNS)
        for clip in clips:
            times = f"{clip.start_s:.3f}", f"{clip.end_s:.3f}"
            rows.writerow((clip.video, *times, ",".join(clip.labels)))


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label.strip() for label in text.split(",") if label.strip())


def _by_video(paths: Iterable[str]) -> dict[str, list[tuple[float | None, str]]]:
    """Returns the files of each video that their names may mean: (start in seconds or None, path)."""
    files: dict[str, list[tuple[float | None, str]]] = {}
    for path in paths:
        stem = os.path.splitext(os.path.basename(path))[0]
        for pattern in _NAMES:
            if match := pattern.fullmatch(stem):
                start = float(match["start"]) if match["start"] else None
                files.setdefault(match["id"], []).append((start, path))
    return files


def _file_of(clip: AudiosetClip, files: dict[str, list[tuple[float | None, str]]]) -> str | None:
    """Returns the file of a clip, None if there is none.

    A file's name may tell the start of the clip in seconds, in whole seconds or in milliseconds, or not at all.
    """
    for start, path in files.get(clip.video, ()):
        times = (None, clip.start_s, float(int(clip.start_s)), 1000 * clip.start_s)
        if start in times:
            return path
    return None
