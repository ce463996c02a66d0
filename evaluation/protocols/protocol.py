"""Protocols: which recordings are asked for, how they are degraded, what they are searched among.

A protocol is a TOML file; those that come along are in `files`. Every setting it may have
is here, with its default: what is not a default is what the protocol is about.
"""

import dataclasses
import difflib
import os
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any

from nafp import errors

from ..queries import conditions
from ..scores import metrics

KINDS = ("clips", "aligned", "given", "recording")
_SHIPPED = pathlib.Path(__file__).parent / "files"


@dataclasses.dataclass(frozen=True, kw_only=True)
class References:
    """The recordings that are asked for; with the distractors, the database."""

    source: str = ""  # CORPUS, manifest.csv or a folder; --references comes before it.
    split: str = "test"
    folder: str = ""  # Inside the source, as the original's dataset has them.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distractors:
    """More of the database, never asked for; without a split and folder, there are none."""

    source: str = ""  # --distractors comes before it; empty: that of the references.
    split: str = ""  # Several with a comma between.
    folder: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queries:
    """What is asked. Of kind clips, `count` clips of `seconds` under each condition."""

    conditions: tuple[str, ...] = ("clean",)
    count: int = 400
    seconds: float = 10.0
    seed: int = 0
    noise: str = ""  # Noise and responses; --noise comes before it; empty: the references' source.
    spliced: bool = False
    folder: str = ""  # Of kind given: audio inside the source, row i of it is row i of the references.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """One long recording in which songs play in a known order; cut without overlap within a song."""

    songs: int = 15
    song_s: float = 0.0  # Of each song; 0: all of it.
    through: str = "room.mic"  # Where it is played and recorded, while --recording gives none.
    # Conditions, added to the recording made here; one's own are taken as they are.
    levels: tuple[str, ...] = ("clean", "n10", "n5", "n0")
    lengths_s: tuple[float, ...] = (2.0, 5.0, 10.0, 15.0)
    trials: int = 3  # Each cuts at other places, and adds other noise.
    seed: int = 0
    noise: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unknown:
    """Queries of recordings that are not in the database; count 0: there are none."""

    split: str = "val"
    count: int = 0
    seed: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How answers are found and counted; `nafp evaluate --help` explains each."""

    lengths_s: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 6.0, 10.0)
    metrics: tuple[str, ...] = ("song", "near")
    index: str = "auto"
    k: int = 0
    n_probe: int = 0
    ids: str = "all"
    compat: bool = False
    unknown: str = ""  # left-out, or nothing.
    speeds: str = ""  # Clips are also taken to play at these: auto, or numbers such as 0.97,1.03.
    repeats: bool = False  # An answer where the very same sound is once more counts as right.
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    name: str
    kind: str = "clips"
    about: str = ""
    references: References = References()
    distractors: Distractors = Distractors()
    queries: Queries = Queries()
    recording: Recording = Recording()
    unknown: Unknown = Unknown()
    evaluation: Evaluation = Evaluation()


def shipped() -> list[str]:
    """Names the protocols that come along."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def load(name: str | os.PathLike) -> Protocol:
    """Reads a protocol by its shipped name or its path; raises ValueError for what cannot be."""
    path = _SHIPPED / f"{name}.toml" if name in shipped() else pathlib.Path(name)
    if not path.is_file():
        close = difflib.get_close_matches(str(name), shipped(), n=1)
        hint = f"did you mean {close[0]}?" if close else f"shipped are {', '.join(shipped())}"
        raise errors.NotFound(f"--protocol={name}: no such file; {hint}")
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise errors.Invalid(f"{path}: not TOML: {error}") from None
    protocol = _read(Protocol, {"name": path.stem, **said}, f"{path}: ")
    _check(protocol, path)
    return protocol


def _read(kind: type, said: Mapping[str, Any], where: str) -> Any:
    """Makes a record of a table, section by section."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    given = {}
    for key, value in said.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(fields)}"
            raise errors.Invalid(f"{where}no setting {key!r}; {hint}")
        default = fields[key].default
        if dataclasses.is_dataclass(default):
            value = _read(type(default), _table(value, where, key), f"{where}{key}.")
        given[key] = _typed(value, default, f"{where}{key}")
    return kind(**given)


def _table(value: Any, where: str, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise errors.Invalid(f"{where}{key} is a section: [{key}], and its settings below")
    return value


def _typed(value: Any, default: Any, where: str) -> Any:
    if default is dataclasses.MISSING or dataclasses.is_dataclass(default):
        return value
    if isinstance(default, tuple):
        if not isinstance(value, list) or not value:
            raise errors.Invalid(f"{where} = {value!r}: a list is needed, such as {list(default)}")
        return tuple(_typed(each, default[0], where) for each in value)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, str) and type(value) is int:
        value = str(value)
    if type(value) is not type(default):
        raise errors.Invalid(f"{where} = {value!r}: should be like {default!r}")
    return value


def _check(protocol: Protocol, path: pathlib.Path) -> None:
    if protocol.kind not in KINDS:
        raise errors.Invalid(f"{path}: kind = {protocol.kind!r}: allowed are {', '.join(KINDS)}")
    for name in (*protocol.queries.conditions, *protocol.recording.levels):
        conditions.parse(name)
    if strange := set(protocol.evaluation.metrics) - {*metrics.METRICS}:
        raise errors.Invalid(
            f"{path}: evaluation.scores.metrics: no {', '.join(strange)}; there are {', '.join(metrics.METRICS)}"
        )
    if protocol.kind == "given" and not protocol.queries.folder:
        raise errors.Invalid(f"{path}: kind = 'given' needs queries.folder: where the audio lies")
    if protocol.evaluation.speeds and protocol.kind in ("aligned", "given"):
        raise errors.Invalid(f"{path}: evaluation.scores.speeds is for clips and recordings: rows stay in place")
    if protocol.evaluation.repeats and protocol.kind in ("aligned", "given"):
        raise errors.Invalid(f"{path}: evaluation.scores.repeats is for clips and recordings: here row answers row")
    longest = max(protocol.evaluation.lengths_s)
    if protocol.kind == "clips" and longest > protocol.queries.seconds:
        raise errors.Invalid(
            f"{path}: evaluation.lengths_s asks for {longest:g} s of clips of"
            f" {protocol.queries.seconds:g} s; raise queries.seconds"
        )
