"""Reads the tags of an audio file: title, artist, album, ..."""

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
_MOST_CHARACTERS = 1000  # A longer value is cut off: nobody wants to read lyrics or a cue sheet here.


def read(path: str | os.PathLike) -> dict[str, str]:
    """Reads the tags of a file: {"title": ..., "artist": ..., ...}. Returns {} if it has none that can be read."""
    try:
        tags = tinytag.TinyTag.get(os.fspath(path)).as_dict()
    except Exception:  # A damaged tag must not cost the track.
        return {}
    texts = {key: _text(tags.get(key)) for key in _KEYS}
    return {key: text[:_MOST_CHARACTERS] for key, text in texts.items() if text}


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        value = "; ".join(str(item) for item in value)
    text = "" if value is None else str(value)
    return text.encode(errors="replace").decode().replace("\x00", " ").strip()
