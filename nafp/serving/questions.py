"""What a request to identify asks: its parameters checked, and its sound or fingerprints as bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from nafp.audio import live
from nafp.identify import asking
from nafp.serving import bodies, listening
from nafp.serving.refusals import Refusal

AUDIO, FINGERPRINT = "audio", "fingerprint"
FORMATS = ("json", "acrcloud")
DTYPES = ("float32", "float16")
_ACRCLOUD_FIELD = "access_key"  # Clients of ACRCloud send it with every clip.
_MOST_NAME = 255
_MOST_SPEEDS = 8
_MOST_TOP = 50

Value = TypeVar("Value")


class Question(NamedTuple):
    """A clip, and how to answer it.

    data: an audio file, or fingerprints. data_type: which of the two. name: what the client calls the clip. top, least:
    as of `Identifier.identify`. format: one of FORMATS. network: digest of the network that made the fingerprints.
    dtype: one of DTYPES. hop_s: seconds between fingerprints, 0 for that of the database. speeds: those that were
    undone, 1 first. rows: number of fingerprints at each of them, () for one speed.
    """

    data: bytes
    data_type: str = AUDIO
    name: str = ""
    top: int = 1
    least: float = asking.LEAST_PROBABLE
    format: str = "json"
    network: str = ""
    dtype: str = "float32"
    hop_s: float = 0.0
    speeds: tuple[float, ...] = (1.0,)
    rows: tuple[int, ...] = ()


def parse(body: bytes, headers: Mapping[str, str], query: Mapping[str, str]) -> Question:
    """Returns the question of a request. Raises Refusal 400 for what cannot be, with what is allowed.

    The body is the clip itself, or a form with the clip in `sample` or `file`. Parameters stand in the query or in the
    form. A form may have other fields, as clients of other services send them.
    """
    unknown = sorted(set(query) - set(_READERS))
    if unknown:
        raise Refusal(400, f"no parameter {unknown[0]!r}; there are {', '.join(_READERS)}")
    texts, name, data = {}, "", body
    if bodies.is_form(headers):
        form = bodies.form(body, headers)
        upload = form.files.get("sample") or form.files.get("file")
        if upload is None:
            raise Refusal(400, "the form has neither a field 'sample' nor a field 'file'")
        texts, (name, data) = form.texts, upload
    if not data:
        raise Refusal(400, "an empty clip: send the bytes of an audio file, or fingerprints")
    given = {key: text for key, text in (texts | dict(query)).items() if key in _READERS and text != ""}
    values: dict[str, Any] = {key: _READERS[key](key, text) for key, text in given.items()}
    if _ACRCLOUD_FIELD in texts:
        values.setdefault("format", "acrcloud")
    least = values.pop("probability", asking.LEAST_PROBABLE)
    return _checked(Question(data, **{"name": name[:_MOST_NAME], "least": least} | values))


def _checked(question: Question) -> Question:
    if question.data_type == AUDIO:
        return question
    if not question.network:
        raise Refusal(
            400, "fingerprints need network=SHA256, the digest that /v1/health names: of the network that made them"
        )
    if question.speeds[0] != 1 or len(set(question.speeds)) != len(question.speeds):
        raise Refusal(400, "speeds: 1 comes first, and each of them once")
    if len(question.speeds) > 1 and len(question.rows) != len(question.speeds):
        raise Refusal(400, "rows: the number of fingerprints at each of the speeds is needed")
    return question


def _one_of(choices: Sequence[str]) -> Callable[[str, str], str]:
    def read(key: str, text: str) -> str:
        if text not in choices:
            raise Refusal(400, f"{key}={text[:40]!r}: {' or '.join(choices)} is needed")
        return text

    return read


def _number(kind: Callable[[str], Value], low: float, high: float) -> Callable[[str, str], Value]:
    def read(key: str, text: str) -> Value:
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            value = None
        if value is None or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
            raise Refusal(400, f"{key}={text[:40]!r}: a number from {low:g} to {high:g} is needed")
        return value

    return read


def _several(read: Callable[[str, str], Value]) -> Callable[[str, str], tuple[Value, ...]]:
    def read_all(key: str, text: str) -> tuple[Value, ...]:
        words = text.split(",")
        if len(words) > _MOST_SPEEDS:
            raise Refusal(400, f"{key}: at most {_MOST_SPEEDS} numbers")
        return tuple(read(key, word) for word in words)

    return read_all


_READERS: dict[str, Callable[[str, str], object]] = {
    "data_type": _one_of((AUDIO, FINGERPRINT)),
    "format": _one_of(FORMATS),
    "name": lambda key, text: text[:_MOST_NAME],
    "top": _number(int, 1, _MOST_TOP),
    "probability": _number(float, 0, 1),
    "network": lambda key, text: text.strip().lower()[:_MOST_NAME],
    "dtype": _one_of(DTYPES),
    "hop_s": _number(float, 0.01, 3600),
    "speeds": _several(_number(float, asking.SLOWEST, asking.FASTEST)),
    "rows": _several(_number(int, 0, 1 << 20)),
}
_LISTEN_READERS: dict[str, Callable[[str, str], object]] = {
    "raw_hz": _number(int, *live.RAW_HZ),
    "encoding": _one_of(tuple(listening.ENCODINGS)),
    "max_speed": _number(float, 0, asking.LARGEST_MAX_SPEED),
    "unknown": lambda key, text: _one_of(("true", "false"))(key, text) == "true",
    "name": lambda key, text: text[:_MOST_NAME],
}


def listen(query: Mapping[str, str]) -> listening.ListenRequest:
    """Returns how to listen to a stream. Raises Refusal 400 for what cannot be."""
    unknown = sorted(set(query) - set(_LISTEN_READERS))
    if unknown:
        raise Refusal(400, f"no parameter {unknown[0]!r}; there are {', '.join(_LISTEN_READERS)}")
    values: dict[str, Any] = {key: _LISTEN_READERS[key](key, text) for key, text in query.items()}
    return listening.ListenRequest(**values)
