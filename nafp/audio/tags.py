"""What an audio file says of itself: title, artist, album and whatever else its tags hold."""

from __future__ import annotations

import os

import tinytag

_KEYS = (
    "title",
    "artist",
    "album",
    "albumartist",
    "composer",
    "genre",
    "year",
    "track",
    "disc",
    "comment",
)
_MOST_CHARACTERS = 1000  # Of a value: lyrics and cue sheets are no metadata.


def read(path: str | os.PathLike) -> dict[str, str]:
    """Reads the tags of a file: {"title": ..., "artist": ..., ...}; empty for one without, or that cannot be read."""
    try:
        said = tinytag.TinyTag.get(os.fspath(path)).as_dict()
    except Exception:  # A tag is decoration: whatever is wrong with it must not cost the track.
        return {}
    found = {key: _first(said.get(key)) for key in _KEYS}
    return {key: value[:_MOST_CHARACTERS] for key, value in found.items() if value}


def _first(value: object) -> str:
    if isinstance(value, (list, tuple)):
        value = "; ".join(str(each) for each in value)
    text = "" if value is None else str(value)
    return text.encode(errors="replace").decode().replace("\x00", " ").strip()
