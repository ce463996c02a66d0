"""Reads and writes the lists of files of other systems: pfann's CSV, text files, pickled lists.

    .csv              a manifest, or pfann's list: file,duration,sample_rate,channels
    .txt .lst .m3u    one path a line, # before a remark (see `list_text`); pfann's builder reads them
    .pkl              a pickled list of paths (the magcil benchmark's train and val lists), see `pickles`

Paths in a list are relative to the list's own folder, or to a root. pfann's CSVs are relative to its music folder. The
benchmark keeps only the last two parts of a pickled path.
"""

import csv
import io
import os
from collections.abc import Sequence

from nafp import errors
from nafp.corpora import list_text, manifest, pickles
from nafp.jobs import whole_files

TEXT = (".txt", ".lst", ".m3u", ".m3u8")
PICKLED = (".pkl", ".pickle")
FORMS = ("manifest", "pfann", "text", "pickle")
_PFANN_COLUMNS = ("file", "duration", "sample_rate", "channels")


def is_former(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of a list that `write` wrote, in any form."""
    if head.startswith(b"\x80\x04\x95"):  # A pickle of protocol 4, of a list.
        return head[11:13] == b"]\x94"
    if head.startswith((",".join(_PFANN_COLUMNS).encode(), ",".join(manifest.COLUMNS).encode())):
        return True
    lines = head.decode(errors="surrogateescape").split("\n")[:-1]  # The last one may be cut off.
    return bool(lines) and "\0" not in "".join(lines) and all(map(os.path.isabs, lines))


def is_list(path: str) -> bool:
    """Returns whether a file is a list of files, which its suffix tells."""
    return os.path.splitext(path)[1].lower() in (".csv", *TEXT, *PICKLED)


def read(path: str | os.PathLike, *, root: str = "") -> list[manifest.Track]:
    """Reads a list of any of these forms. The files of a list that is no CSV are music without a split.

    root: the folder that relative paths start from, "" for the list's own. Raises errors.Invalid for a list that cannot
    be right, with the line or the trouble of the pickle.
    """
    path = os.path.abspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".csv":
        return manifest.read(path, root=root)
    folder = os.path.abspath(root) if root else os.path.dirname(path)
    if suffix in TEXT:
        names = list_text.names(list_text.read(path), path, folder)
    elif suffix in PICKLED:
        names = _pickled(path, root)
    else:
        raise errors.Invalid(f"{path}: no list; .csv, {', '.join((*TEXT, *PICKLED))} are read")
    if not names:
        raise errors.Invalid(f"{path}: names no file; write one path a line")
    return [manifest.Track(os.path.normpath(os.path.join(folder, name))) for name in names]


def write(path: str | os.PathLike, tracks: Sequence[manifest.Track], *, form: str = "", root: str = "") -> None:
    """Writes a list, which appears whole or not at all.

    form: one of FORMS, "" for the usual one of the suffix (.csv: manifest). root: the folder that paths in pfann's form
    are relative to. Paths in the other forms are absolute. Raises errors.Invalid for a form that does not fit the
    suffix, and for a file outside the root.
    """
    path = os.path.abspath(path)
    form = _form(path, form)
    if form == "manifest":
        manifest.write(path, tracks)
    elif form == "pickle":
        pickles.write(path, [track.path for track in tracks])
    elif form == "text":
        for track in tracks:
            if "\n" in track.path or "\r" in track.path:
                raise errors.Invalid(f"{track.path!r}: {path} has no way to write a line break; write a .csv")
        _write(path, "".join(f"{track.path}\n" for track in tracks))
    else:
        _write_pfann(path, tracks, root)


def _form(path: str, form: str) -> str:
    suffix = os.path.splitext(path)[1].lower()
    fits = {".csv": ("manifest", "pfann")} | dict.fromkeys(TEXT, ("text",))
    fits |= dict.fromkeys(PICKLED, ("pickle",))
    if suffix not in fits:
        raise errors.Invalid(f"{path}: lists are written as {', '.join(fits)}")
    if form and form not in fits[suffix]:
        name = form if form in FORMS else f"{form!r}, which is none of {', '.join(FORMS)},"
        raise errors.Invalid(f"{path}: {name} is not written into {suffix} files")
    return form or fits[suffix][0]


def _pickled(path: str, root: str) -> list[str]:
    list_text.require_file(path)
    values = pickles.read(path)
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise errors.Invalid(f"{path}: holds a {type(values).__name__}, not a list of paths")
    names = [name.replace("\\", "/") for name in values]
    return ["/".join(name.split("/")[-2:]) for name in names] if root else names


def _write_pfann(path: str, tracks: Sequence[manifest.Track], root: str) -> None:
    root = os.path.abspath(root or os.path.dirname(path))
    rows = io.StringIO()
    writer = csv.writer(rows)
    writer.writerow(_PFANN_COLUMNS)
    for track in tracks:
        name = os.path.relpath(track.path, root)
        if name.startswith(".."):
            raise errors.Invalid(f"{track.path}: not below {root}; say --root=FOLDER of the music")
        writer.writerow((name, track.seconds, track.sample_rate_hz, track.channels))
    _write(path, rows.getvalue())


def _write(path: str, text: str) -> None:
    # File names are bytes, not text.
    with whole_files.opened(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
