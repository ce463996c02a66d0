"""Protocols: which recordings are asked for, how they are degraded, and among what they are searched.

A protocol is a TOML file. The shipped ones are in `files`. All settings are here, with their defaults: a file names
only what differs.
"""

import dataclasses
import os
import pathlib
import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

from nafp import errors
from nafp.jobs import choices

from ..queries import conditions
from ..scores import answers, metrics

# clips: from any place of a track. aligned: whole tracks, degraded in place. given: whole tracks that were degraded
# elsewhere. recording: one long recording, cut into clips.
KINDS = ("clips", "aligned", "given", "recording")
_Section = TypeVar("_Section")
_MOST = 1e9  # More clips, seconds or neighbours than any protocol needs.
_SHIPPED = pathlib.Path(__file__).parent / "files"


@dataclasses.dataclass(frozen=True, kw_only=True)
class References:
    """The recordings that are asked for. Together with the distractors, they are the database."""

    source: str = ""  # CORPUS, manifest.csv or a folder. --references overrides it.
    split: str = "test"
    folder: str = ""  # A folder inside the source, as in the original's dataset.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distractors:
    """Recordings of the database that are never asked for. Without a split and a folder, there are none."""

    source: str = ""  # --distractors overrides it. Empty: the source of the references.
    split: str = ""  # One, or several with commas between them.
    folder: str = ""  # A folder inside the source.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queries:
    """The queries. Those of kind clips are `count` clips of `seconds` under each condition."""

    conditions: tuple[str, ...] = ("clean",)
    count: int = 400
    seconds: float = 10.0
    seed: int = 0
    noise: str = ""  # Noise and responses. --noise overrides it. Empty: the source of the references.
    spliced: bool = False  # Whether each second has its own shift, noise and response.
    folder: str = ""  # Kind given: a folder of audio inside the source; its row i is row i of the references.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """Kind recording: a long recording in which songs play in a known order. Queries are cut within the songs."""

    songs: int = 15
    song_s: float = 0.0  # Length that each song plays; 0: all of it.
    through: str = "room.mic"  # The condition of a rendered recording. --recording gives one's own instead.
    # Conditions that are added to a rendered recording. One's own recordings stay as they are.
    levels: tuple[str, ...] = ("clean", "n10", "n5", "n0")
    lengths_s: tuple[float, ...] = (2.0, 5.0, 10.0, 15.0)
    trials: int = 3  # Each trial cuts at other places, and adds other noise.
    seed: int = 0
    noise: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unknown:
    """Queries of recordings that are not in the database. With count 0, there are none."""

    split: str = "val"
    count: int = 0
    seed: int = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How answers are found and counted. `nafp evaluate --help` explains the settings of the same name."""

    lengths_s: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 6.0, 10.0)
    metrics: tuple[str, ...] = ("song", "near")
    index: str = "auto"
    matcher: str = "diagonal"
    k: int = 0
    n_probe: int = 0
    ids: str = "all"
    compat: bool = False
    unknown: str = ""  # left-out: each query once more without its own recording. Empty: no unknown queries.
    speeds: str = ""  # Other speeds at which clips are searched: auto, or numbers such as 0.97,1.03.
    repeats: bool = False  # Whether an answer at an exact repeat of the sound counts as right.
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """All settings of a protocol."""

    name: str
    kind: str = "clips"  # One of KINDS.
    about: str = ""  # Text above the table.
    references: References = References()
    distractors: Distractors = Distractors()
    queries: Queries = Queries()
    recording: Recording = Recording()
    unknown: Unknown = Unknown()
    evaluation: Evaluation = Evaluation()


def shipped() -> list[str]:
    """Returns the names of the shipped protocols."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def load(name: str | os.PathLike) -> Protocol:
    """Reads a protocol by its shipped name or its path. Raises errors.Invalid or errors.NotFound."""
    path = _SHIPPED / f"{name}.toml" if name in shipped() else pathlib.Path(name)
    if not path.is_file():
        names = ", ".join(shipped())
        raise errors.NotFound(
            f"--protocol={name}: no such file; shipped are {names}.{choices.closest(name, shipped())}"
        )
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.Invalid(f"{path}: not TOML: {error}") from None
    protocol = _read(Protocol, {"name": path.stem, **settings}, f"{path}: ")
    _check(protocol, path)
    return protocol


def _read(kind: type[_Section], settings: Mapping[str, Any], where: str) -> _Section:
    """Returns a section, or the whole protocol, with these settings. where: what errors name before a setting."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # A dataclass, always.
    values = {}
    for key, value in settings.items():
        if key not in fields:
            names = ", ".join(fields)
            raise errors.Invalid(f"{where}no setting {key!r}; there are {names}.{choices.closest(key, fields)}")
        default = fields[key].default
        if dataclasses.is_dataclass(default):
            value = _read(type(default), _table(value, where, key), f"{where}{key}.")
        values[key] = _typed(value, default, f"{where}{key}")
    return kind(**values)


def _table(value: Any, where: str, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise errors.Invalid(f"{where}{key} is a section: [{key}], and its settings below")
    return value


def _typed(value: Any, default: Any, where: str) -> Any:
    """Returns the value if its type is that of the default. A whole number may stand for a float or a string."""
    if default is dataclasses.MISSING or dataclasses.is_dataclass(default):
        return value
    if isinstance(default, tuple):
        if not isinstance(value, list) or not value:
            raise errors.Invalid(f"{where} = {value!r}: a list is needed, such as {list(default)}")
        return tuple(_typed(item, default[0], where) for item in value)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, str) and type(value) is int:
        value = str(value)
    if type(value) is not type(default):
        raise errors.Invalid(f"{where} = {value!r}: should be like {default!r}")
    if type(value) in (int, float) and not 0 <= value <= _MOST:  # False for nan.
        raise errors.Invalid(f"{where} = {value!r}: a number from 0 to {_MOST:g} is needed, such as {default!r}")
    return value


def _check(protocol: Protocol, path: pathlib.Path) -> None:
    """Raises errors.Invalid for settings that contradict each other or name something unknown."""
    if protocol.kind not in KINDS:
        raise errors.Invalid(f"{path}: kind = {protocol.kind!r}: allowed are {', '.join(KINDS)}")
    for name in (*protocol.queries.conditions, *protocol.recording.levels):
        conditions.parse(name)
    if unknown := set(protocol.evaluation.metrics) - {*metrics.METRICS}:
        raise errors.Invalid(
            f"{path}: evaluation.metrics: no {', '.join(unknown)}; there are {', '.join(metrics.METRICS)}"
        )
    if protocol.evaluation.matcher not in answers.MATCHERS:
        raise errors.Invalid(
            f"{path}: evaluation.matcher = {protocol.evaluation.matcher!r}: allowed are {', '.join(answers.MATCHERS)}"
        )
    if protocol.evaluation.matcher != "diagonal" and (protocol.evaluation.speeds or protocol.evaluation.compat):
        raise errors.Invalid(f"{path}: evaluation.speeds and compat are for matcher = 'diagonal'")
    if protocol.kind == "given" and not protocol.queries.folder:
        raise errors.Invalid(f"{path}: kind = 'given' needs queries.folder: the folder of the audio")
    if protocol.evaluation.speeds and protocol.kind in ("aligned", "given"):
        raise errors.Invalid(f"{path}: evaluation.speeds is for clips and recordings: here rows stay in place")
    if protocol.evaluation.repeats and protocol.kind in ("aligned", "given"):
        raise errors.Invalid(f"{path}: evaluation.repeats is for clips and recordings: here row answers row")
    longest = max(protocol.evaluation.lengths_s)
    if protocol.kind == "clips" and longest > protocol.queries.seconds:
        raise errors.Invalid(
            f"{path}: evaluation.lengths_s asks for {longest:g} s of clips of"
            f" {protocol.queries.seconds:g} s; raise queries.seconds"
        )
