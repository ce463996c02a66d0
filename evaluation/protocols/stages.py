"""Runs a protocol: renders what is asked, has it fingerprinted, evaluates, and puts up one table.

    OUT/queries, OUT/recording   rendered sound and its truth
    OUT/store                    fingerprints: asked, db, dummy_db (these two in --store, if given)
    OUT/results                  what `nafp evaluate` writes
    OUT/protocol.json            the protocol as it was run
    OUT/table.md, table.csv      condition x length

Each stage goes on where it was interrupted, and is skipped when it is done. How fingerprints are
made is not known here: `extract` does it, a callable that a launcher brings.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from nafp import errors
from nafp.search import store as stores

from ..queries import folder as rendered
from ..queries import material, recordings, render
from ..scores import stores as inputs
from . import evaluated, tables
from . import protocol as protocols

# Settings of `nafp evaluate` that a protocol leaves no choice of.
_DECIDED = {"query", "truth", "group", "lengths", "unknown", "rows_per_track", "shifts", "speeds"}


class Extract(Protocol):
    """Fingerprints a source (see `nafp extract --source`) into FOLDER/NAME.

    Does nothing when that is there, made by the same network; raises ValueError when it was made by
    another one, unless `overwrite`. speed: what the tracks are taken to play at, and is undone.
    """

    def __call__(
        self,
        source: str,
        *,
        folder: str,
        name: str,
        split: str | None,
        overwrite: bool,
        speed: float = 1.0,
    ) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A protocol, the places it is run with, and what `nafp evaluate` was told besides.

    store: folder that has, or gets, the database; OUT/store unless given. A given one is taken as
    it is. recording: level=FILE of one's own long recordings; plan: what plays in them.
    """

    protocol: protocols.Protocol
    out: str
    extract: Extract
    references: str = ""
    distractors: str = ""
    noise: str = ""
    store: str = ""
    recording: Sequence[str] = ()
    plan: str = ""
    jobs: int = 0
    overwrite: bool = False
    show: bool = True
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def folder(self) -> pathlib.Path:
        return pathlib.Path(self.out)

    @property
    def source(self) -> str:
        found = self.references or self.protocol.references.source
        if not found:
            raise errors.Invalid(
                f"protocol {self.protocol.name}: says no references; give --references=CORPUS (or a"
                " manifest, or a folder of audio)"
            )
        return found

    def name_of(self, part: str) -> str:
        """Names a store of this run as no other run names one.

        An evaluation takes a name from every folder that has it, and --store may hold the queries
        of anything. The name stays when the folder is moved.
        """
        note = self.folder / "store" / "token.txt"
        if not note.exists():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{zlib.crc32(str(self.folder.resolve()).encode()):08x}")
        return f"{part}-{note.read_text()}"


class _Asked(NamedTuple):
    """A set of queries: its name in OUT, its list of files, its truth ("": row by row)."""

    name: str
    source: str
    truth: str
    condition: str = ""


def run(job: Run) -> str:
    """Runs the protocol to its end, or to where it was stopped; returns the table."""
    _begin(job)
    asked = _KINDS[job.protocol.kind](job)
    _say(job, f"queries: {', '.join(one.source for one in asked)}")
    database = _fingerprint(job, asked)
    found = [_evaluated(job, one, asked, database) for one in asked]
    table = tables.write(job.folder, job.protocol, asked, found)
    _say(job, f"\n{table}\n\nwritten: {job.folder}/table.md, table.csv")
    return table


def _begin(job: Run) -> None:
    """Notes the protocol; refuses what it decides itself, and a folder begun with another one."""
    if its_own := sorted(_DECIDED & set(job.settings)):
        raise errors.Invalid(f"--{its_own[0]} is decided by protocol {job.protocol.name}; write another file for it")
    job.folder.mkdir(parents=True, exist_ok=True)
    path = job.folder / "protocol.json"
    now = json.loads(json.dumps(dataclasses.asdict(job.protocol)))
    if path.exists() and not job.overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        # Another evaluation of the same sound is no other protocol.
        parts = [part for part in now if part not in ("about", "evaluation")]
        if changed := [part for part in parts if before.get(part) != now[part]]:
            raise errors.AlreadyExists(
                f"{job.folder}: was begun with another protocol ({', '.join(changed)} differ);"
                " --overwrite renders anew, another --out keeps it"
            )
    path.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")


def _clips(job: Run) -> list[_Asked]:
    asked = job.protocol.queries
    source, noise = _materials(job, asked.noise)
    out = job.folder / "queries"
    render.render(
        source,
        noise,
        out,
        split=job.protocol.references.split,
        names=asked.conditions,
        count=asked.count,
        seconds=asked.seconds,
        seed=asked.seed,
        spliced=asked.spliced,
        **_rendering(job),
    )
    return [_Asked(job.name_of("asked"), f"{out}/list.txt", f"{out}/expected.csv")]


def _aligned(job: Run) -> list[_Asked]:
    """Degrades whole tracks in place, a set of them under each condition."""
    asked = job.protocol.queries
    source, noise = _materials(job, asked.noise)
    found = []
    for number, condition in enumerate(asked.conditions):
        out = job.folder / f"queries-{condition}"
        render.render_aligned(
            source,
            noise,
            out,
            split=job.protocol.references.split,
            names=[condition],
            seed=asked.seed,
            spliced=asked.spliced,
            **_rendering(job),
        )
        found.append(_Asked(job.name_of(f"asked-{number}"), f"{out}/list.txt", "", condition))
    return found


def _given(job: Run) -> list[_Asked]:
    return [
        _Asked(
            job.name_of("asked"),
            _inside(job, job.source, job.protocol.queries.folder),
            "",
            "as given",
        )
    ]


def _recording(job: Run) -> list[_Asked]:
    source, noise = _materials(job, job.protocol.recording.noise)
    setting = job.protocol.recording
    split = job.protocol.references.split
    if job.recording:
        taken = recordings.given(job.recording, job.plan, source, split=split)
    else:
        taken = recordings.render(
            source,
            noise,
            job.folder / "recording",
            split=split,
            songs=setting.songs,
            song_s=setting.song_s,
            through=setting.through,
            seed=setting.seed,
            overwrite=job.overwrite,
        )
    out = job.folder / "queries"
    levels = ("clean",) if job.recording else setting.levels
    recordings.cut(
        taken,
        noise,
        out,
        split=split,
        levels=levels,
        lengths_s=setting.lengths_s,
        trials=setting.trials,
        seed=setting.seed,
        **_rendering(job),
    )
    return [_Asked(job.name_of("asked"), f"{out}/list.txt", f"{out}/expected.csv")]


_KINDS: dict[str, Callable[[Run], list[_Asked]]] = {
    "clips": _clips,
    "aligned": _aligned,
    "given": _given,
    "recording": _recording,
}


def _rendering(job: Run) -> dict[str, Any]:
    return {"jobs": job.jobs, "show": job.show, "overwrite": job.overwrite}


def _materials(job: Run, noise: str) -> tuple[material.Material, material.Material]:
    source = material.Material(_inside(job, job.source, job.protocol.references.folder))
    place = job.noise or noise
    return source, material.Material(place, kind="noise") if place else source


def _inside(job: Run, place: str, folder: str) -> str:
    """Gives the folder inside a place; raises FileNotFoundError, saying what is expected, for none."""
    path = os.path.join(place, folder) if folder else place
    if not os.path.exists(path):
        raise errors.NotFound(
            f"{path}: not there; protocol {job.protocol.name} looks for it"
            + (f" in --references={place}" if folder else "")
        )
    return path


def _fingerprint(job: Run, asked: Sequence[_Asked]) -> list[str]:
    """Has everything fingerprinted; returns the folders of stores, the database's first."""
    own = str(job.folder / "store")
    for one in asked:
        _extract_changed(job, own, one.name, one.source)
        for name, speed in evaluated.at_speeds(one.name, job.protocol.evaluation.speeds):
            _extract_changed(job, own, name, one.source, speed=speed)
    if (unknown := job.protocol.unknown).count:
        out = job.folder / "unknown"
        first, noise = _materials(job, job.protocol.queries.noise)
        names, seconds = job.protocol.queries.conditions, job.protocol.queries.seconds
        some = {"count": unknown.count, "seconds": seconds, "seed": unknown.seed}
        render.render(first, noise, out, split=unknown.split, names=names, **some, **_rendering(job))
        _extract_changed(job, own, job.name_of("unknown"), f"{out}/list.txt")
    if job.store:
        name = job.settings.get("db", "db")
        if name not in stores.names(job.store):
            there = ", ".join(stores.names(job.store)) or "nothing"
            raise errors.Invalid(f"--store={job.store}: no finished {name} in it; it has {there}")
        return [job.store, own]
    for name, source, split in _database(job):
        job.extract(source, folder=own, name=name, split=split, overwrite=job.overwrite)
    return [own]


def _database(job: Run) -> list[tuple[str, str, str | None]]:
    """Lists the stores of the database: name, source, split (None: of any)."""
    part, more = job.protocol.references, job.protocol.distractors
    references, *others = _places(job)
    found = [("db", references, _split(job, references, part.split))]
    if not others:
        return found
    (distractors,) = others
    split = _split(job, distractors, more.split)
    if split is None and distractors == references:
        return found  # Nothing says which are which: all of them are asked for.
    if split == "":
        _say(job, f"note: no music of split {more.split} in {distractors}: no distractors")
        return found
    return [*found, (inputs.DUMMY, distractors, split)]


def _places(job: Run) -> list[str]:
    """Lists where the audio of the database is: references, and distractors where there are to be any."""
    part, more = job.protocol.references, job.protocol.distractors
    references = _inside(job, job.source, part.folder)
    place = job.distractors or more.source or (job.source if more.split or more.folder else "")
    return [references, _inside(job, place, more.folder)] if place else [references]


def _split(job: Run, place: str, split: str) -> str | None:
    """Gives the split to take of a place: None where nothing says any, "" where none is of it."""
    if job.protocol.kind == "given" or not split:
        return None
    there = {piece.split for piece in material.Material(place).pieces if piece.kind == "music"}
    if there == {""}:
        return None
    return split if there & set(split.split(",")) else ""


def _extract_changed(job: Run, folder: str, name: str, source: str, *, speed: float = 1.0) -> None:
    """Fingerprints queries; again when they were rendered anew since."""
    note, key = pathlib.Path(folder, f"{name}.source"), _rendering_key(source)
    before = note.read_text() if note.exists() else key
    changed = job.overwrite or before != key
    job.extract(source, folder=folder, name=name, split=None, overwrite=changed, speed=speed)
    note.write_text(key)


def _rendering_key(source: str) -> str:
    """Identifies what was rendered; audio that came from elsewhere, by its place."""
    settings = pathlib.Path(source).with_name(rendered.SETTINGS)
    said = settings.read_bytes() if settings.exists() else source.encode()
    return hashlib.sha256(said).hexdigest()


def _evaluated(job: Run, one: _Asked, asked: Sequence[_Asked], folders: Sequence[str]) -> dict[str, Any]:
    """Evaluates one set of queries."""
    setting = job.protocol.evaluation
    unknown = job.name_of("unknown") if job.protocol.unknown.count else setting.unknown
    request = {
        "store": list(folders),
        "out": str(job.folder / ("results" if len(asked) == 1 else f"results-{one.condition}")),
        "query": one.name,
        "truth": one.truth or None,
        "lengths": evaluated.rows(folders[-1], one.name, _lengths_s(job.protocol)),
        "group": ["condition"] if one.truth else None,
        "unknown": unknown or None,
        **{name: getattr(setting, name) for name in ("index", "k", "n_probe", "ids", "compat")},
        "seed": setting.seed,
        "repeats": list(dict.fromkeys(_places(job))) if setting.repeats else [],
        **job.settings,
    }
    others = [name for name, _ in evaluated.at_speeds(one.name, setting.speeds)]
    return evaluated.evaluated(request, others, show=job.show)


def _lengths_s(protocol: protocols.Protocol) -> Sequence[float]:
    part = protocol.recording if protocol.kind == "recording" else protocol.evaluation
    return part.lengths_s


def _say(job: Run, text: str) -> None:
    if job.show:
        print(text, flush=True)
