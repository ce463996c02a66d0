"""Reads the text of lists that people and programs write, in any of their encodings and ways to write a name.

File names are bytes, not text. A byte of a list that is not UTF-8 becomes a surrogate, as Python does with file names.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import stat
import urllib.parse

from nafp import errors
from nafp.audio import decode

_ON_ERROR = "surrogateescape"
_PIPES = ("/dev/stdin", "/dev/fd/")  # Pipes that a person hands over on purpose.
_LONGEST_NAME = 32_768  # Bytes. No system takes a longer path.


def read(path: str | os.PathLike, *, missing: str = "") -> str:
    """Reads a list: UTF-8, or UTF-16 with a byte order mark. Ends of lines become one newline each.

    missing: what the error says, behind the reason, about a file that cannot be read. Raises errors.Invalid for such a
    file, for a pipe or a device, and for a NUL byte.
    """
    path = os.fspath(path)
    require_file(path, missing=missing)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise errors.Invalid(f"{path}: {error.strerror}{missing}") from None
    return text(data, path)


def table(path: str | os.PathLike, columns: set[str], *, missing: str = "") -> list[dict[str, str]]:
    """Reads a CSV file with these columns, and perhaps others, as one dictionary a row. Errors as for `read`."""
    rows = csv.DictReader(io.StringIO(read(path, missing=missing), newline=""), restval="")
    try:
        if not columns <= set(rows.fieldnames or ()):
            needed = " and ".join(sorted(columns))
            raise errors.Invalid(f"{os.fspath(path)}: columns {needed} are needed; has {rows.fieldnames}")
        return list(rows)
    except csv.Error as error:
        raise errors.Invalid(f"{os.fspath(path)}, line {rows.line_num + 1}: {error}; is a quote left open?") from None


def require_file(path: str | os.PathLike, *, missing: str = "") -> None:
    """Raises errors.Invalid if a list is no regular file: opening a pipe or a device may wait for ever."""
    path = os.fspath(path)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise errors.Invalid(f"{path}: {getattr(error, 'strerror', '') or error}{missing}") from None
    if not stat.S_ISREG(mode) and not path.startswith(_PIPES):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise errors.Invalid(f"{path}: {kind}, not a list; write the list into a file")


def text(data: bytes, where: str) -> str:
    """Returns the text of a list. where: the list, as errors call it."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = data.decode("utf-16")
        except UnicodeDecodeError:
            raise errors.Invalid(f"{where}: begins as UTF-16 and does not go on so; save it as UTF-8") from None
    else:
        content = data.removeprefix(codecs.BOM_UTF8).decode(errors=_ON_ERROR)
    content = content.replace("\r\n", "\n")
    content = content if "\n" in content else content.replace("\r", "\n")
    if "\0" in content:
        line = content.count("\n", 0, content.index("\0")) + 1
        raise errors.Invalid(f"{where}, line {line}: a NUL byte, which no name has; save the list as UTF-8")
    return content


def names(content: str, where: str, folder: str) -> list[str]:
    """Returns the names in a list of one name a line, without remarks (#) and empty lines.

    A name is taken as it stands where such a file exists: `#1 hit.opus` is no remark, and blanks at its ends count.
    Otherwise a playlist's ways of writing are tried: file://, %20 for a blank, backslashes. folder: where relative
    names start from.
    """
    lines = content.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST_NAME:
            raise errors.Invalid(f"{where}, line {number}: {len(line)} characters, longer than any name of a file")
    return [name for line in lines if (name := _name(line, folder))]


def words(value: str) -> str:
    """Returns a text for people, such as a title. Bytes that are not UTF-8 are taken for Western European letters."""
    data = value.encode(errors=_ON_ERROR)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def existing(name: str, folder: str) -> str:
    """Returns a name in the encoding of the file's own name: as it stands, or with Western European bytes as text."""
    if not re.search("[\udc80-\udcff]", name) or _exists(name, folder):
        return name
    return words(name) if _exists(words(name), folder) else name


def _name(line: str, folder: str) -> str:
    """Returns the name on a line, "" for a remark or an empty line."""
    bare = line.strip()
    if not bare:
        return ""
    is_odd = bare != line or bare[0] == "#" or re.search(r"[%\\\udc80-\udcff]|^file:", bare, re.IGNORECASE)
    if not is_odd or _exists(line, folder):
        return line
    if bare[0] == "#" and _is_remark(bare, folder):
        return ""
    return next((name for name in _ways(bare) if _exists(name, folder)), _ways(bare)[0])


def _is_remark(line: str, folder: str) -> bool:
    """Returns whether a line that begins with # is a remark: a directive, words, or a name that is commented out."""
    if _exists(line, folder):
        return False
    rest = line.lstrip("#")
    is_audio = os.path.splitext(line)[1].lower() in decode.SNDFILE | decode.FFMPEG
    return not is_audio or rest != rest.strip() or line.startswith("#EXT") or _exists(rest, folder)


def _ways(name: str) -> list[str]:
    """Returns the names that a line may mean, the likeliest first."""
    if name.lower().startswith("file:"):
        path = re.sub("^file:(//(localhost)?(?=/))?", "", name, flags=re.IGNORECASE)
        return [_unquoted(path)]
    ways = [name, _unquoted(name), name.replace("\\", "/"), _unquoted(name.replace("\\", "/"))]
    return list(dict.fromkeys([*ways, words(name)]))


def _unquoted(name: str) -> str:
    return os.fsdecode(urllib.parse.unquote_to_bytes(os.fsencode(name)))


def _exists(name: str, folder: str) -> bool:
    try:
        return os.path.exists(os.path.join(folder, name))
    except ValueError:  # A NUL byte, from %00.
        return False
