"""Runs a protocol: renders queries, has everything fingerprinted, evaluates, and writes one table.

    OUT/queries, OUT/recording   rendered sound and its truth
    OUT/store                    fingerprints: asked, db, dummy_db (the last two in --store, if given)
    OUT/results                  what `nafp evaluate` writes
    OUT/protocol.json            the protocol as it was run
    OUT/table.md, table.csv      condition x length

Each stage continues after an interruption, and is skipped if it is done. This room does not know how fingerprints are
made: a launcher brings the callable `extract`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import typing
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from nafp import errors
from nafp.jobs import choices, outputs, whole_files
from nafp.search import confidence, store

from ..queries import folder, material, recordings, rendering
from ..scores import answers, ids, stores
from . import evaluated, tables
from .protocol import Protocol

# Flags of `nafp evaluate` that a protocol decides.
_DECIDED = {"query", "truth", "group", "lengths", "unknown", "rows_per_track", "shifts", "speeds"}


class Extract(typing.Protocol):
    """Fingerprints a source (see `nafp extract --source`) into the store FOLDER/NAME.

    Does nothing if the store is there and of the same network. Raises errors.Invalid if it is of another network,
    unless `overwrite`. speed: the speed at which the tracks are assumed to play, which is undone.
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
    """A protocol, its places, and the other flags of `nafp evaluate`.

    store: folder of a finished database, or empty to make it in OUT/store. recording: LEVEL=FILE of the user's own long
    recordings. plan: file of what plays in them. settings: flags of `nafp evaluate` from the command line, by name.
    """

    protocol: Protocol
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
        """The folder OUT."""
        return pathlib.Path(self.out)

    @property
    def source(self) -> str:
        """The place of the references. Raises errors.Invalid if neither the flag nor the protocol names one."""
        place = self.references or self.protocol.references.source
        if not place:
            raise errors.Invalid(
                f"protocol {self.protocol.name}: names no references; give --references=CORPUS (or a"
                " manifest, or a folder of audio)"
            )
        return place

    def name_of(self, part: str) -> str:
        """Returns a name for a store that no other run uses.

        An evaluation takes a name from every folder that has it, and --store may hold queries of any kind. The name
        stays the same if the folder is moved.
        """
        note = self.folder / "store" / "token.txt"
        if not note.exists():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"{zlib.crc32(str(self.folder.resolve()).encode()):08x}")
        return f"{part}-{note.read_text()}"


def run(job: Run) -> str:
    """Runs the protocol, and returns the table."""
    _begin(job)
    query_sets = _KINDS[job.protocol.kind](job)
    _say(job, f"queries: {', '.join(query_set.source for query_set in query_sets)}")
    folders = _fingerprint(job, query_sets)
    records = [_evaluated(job, query_set, len(query_sets), folders) for query_set in query_sets]
    table = tables.write(job.folder, job.protocol, query_sets, records)
    _say(job, f"\n{table}\n\nwritten: {job.folder}/table.md, table.csv")
    return table


def _begin(job: Run) -> None:
    """Writes protocol.json. Raises if a flag contradicts the protocol, or if the folder has another protocol.

    Raises, too, if the test ids are not there.
    """
    if decided := sorted(_DECIDED & set(job.settings)):
        raise errors.Invalid(f"--{decided[0]} is decided by protocol {job.protocol.name}; write another file for it")
    _ids(job)
    choices.require("--matcher", job.settings.get("matcher", answers.MATCHERS[0]), answers.MATCHERS)
    if job.settings.get("confidence"):
        confidence.Confidence.load(job.settings["confidence"])
    path = job.folder / "protocol.json"
    formers = {path: outputs.json_of("kind", "references")}
    formers |= {job.folder / name: outputs.never for name in ("table.md", "table.csv")}
    outputs.require_set({str(place): former for place, former in formers.items()}, verb="nafp evaluate --protocol")
    job.folder.mkdir(parents=True, exist_ok=True)
    now = json.loads(json.dumps(dataclasses.asdict(job.protocol)))
    if path.exists() and not job.overwrite:
        before = json.loads(path.read_text(encoding="utf-8"))
        # The same sound may be evaluated in another way.
        parts = [part for part in now if part not in ("about", "evaluation")]
        if changed := [part for part in parts if before.get(part) != now[part]]:
            raise errors.AlreadyExists(
                f"{job.folder} was begun with another protocol ({', '.join(changed)} differ);"
                " --overwrite renders it again, another --out keeps it"
            )
    with whole_files.opened(path, encoding="utf-8") as file:
        file.write(json.dumps(now, indent=1) + "\n")


def _ids(job: Run) -> str:
    """Returns what to ask for where row answers row. Raises errors.NotFound if it is a file that is not there."""
    wanted = str(job.settings.get("ids", job.protocol.evaluation.ids))
    if job.protocol.kind not in ("aligned", "given"):
        return wanted
    folders = [job.store, job.source, os.path.join(job.source, "eval")]
    return ids.checked(wanted, [folder for folder in folders if folder])


def _clips(job: Run) -> list[tables.QuerySet]:
    """Renders clips under all conditions, as one set."""
    queries = job.protocol.queries
    source, noise = _materials(job, queries.noise)
    out = job.folder / "queries"
    rendering.render(
        source,
        noise,
        out,
        split=job.protocol.references.split,
        names=queries.conditions,
        count=queries.count,
        seconds=queries.seconds,
        seed=queries.seed,
        spliced=queries.spliced,
        jobs=job.jobs,
        show=job.show,
        overwrite=job.overwrite,
    )
    return [tables.QuerySet(job.name_of("asked"), f"{out}/list.txt", f"{out}/expected.csv")]


def _aligned(job: Run) -> list[tables.QuerySet]:
    """Degrades whole tracks in place, as one set for each condition."""
    queries = job.protocol.queries
    source, noise = _materials(job, queries.noise)
    query_sets = []
    for number, condition in enumerate(queries.conditions):
        out = job.folder / f"queries-{condition}"
        rendering.render_aligned(
            source,
            noise,
            out,
            split=job.protocol.references.split,
            names=[condition],
            seed=queries.seed,
            spliced=queries.spliced,
            jobs=job.jobs,
            show=job.show,
            overwrite=job.overwrite,
        )
        query_sets.append(tables.QuerySet(job.name_of(f"asked-{number}"), f"{out}/list.txt", "", condition))
    return query_sets


def _given(job: Run) -> list[tables.QuerySet]:
    """Takes queries as they are in a folder of the source."""
    place = _inside(job, job.source, job.protocol.queries.folder)
    return [tables.QuerySet(job.name_of("asked"), place, "", "as given")]


def _recording(job: Run) -> list[tables.QuerySet]:
    """Renders a long recording, or takes the user's own, and cuts it into queries."""
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
        jobs=job.jobs,
        show=job.show,
        overwrite=job.overwrite,
    )
    return [tables.QuerySet(job.name_of("asked"), f"{out}/list.txt", f"{out}/expected.csv")]


_KINDS: dict[str, Callable[[Run], list[tables.QuerySet]]] = {
    "clips": _clips,
    "aligned": _aligned,
    "given": _given,
    "recording": _recording,
}


def _materials(job: Run, noise: str) -> tuple[material.Material, material.Material]:
    """Opens the references, and the material of noise and responses."""
    source = material.Material(_inside(job, job.source, job.protocol.references.folder))
    place = job.noise or noise
    return source, material.Material(place, kind="noise") if place else source


def _inside(job: Run, place: str, folder: str) -> str:
    """Returns the path of a folder inside a place. Raises errors.NotFound if it does not exist."""
    path = os.path.join(place, folder) if folder else place
    if not os.path.exists(path):
        raise errors.NotFound(
            f"{path} does not exist; protocol {job.protocol.name} looks for it"
            + (f" in --references={place}" if folder else "")
        )
    return path


def _fingerprint(job: Run, query_sets: Sequence[tables.QuerySet]) -> list[str]:
    """Has everything fingerprinted, and returns the folders of the stores, that of the database first."""
    own = str(job.folder / "store")
    for query_set in query_sets:
        _extract_changed(job, own, query_set.name, query_set.source)
        for name, speed in evaluated.at_speeds(query_set.name, job.protocol.evaluation.speeds):
            _extract_changed(job, own, name, query_set.source, speed=speed)
    if job.protocol.unknown.count:
        _extract_changed(job, own, job.name_of("unknown"), _unknown(job))
    if job.store:
        name = job.settings.get("db", "db")
        if name not in store.names(job.store):
            names = ", ".join(store.names(job.store)) or "nothing"
            raise errors.Invalid(f"--store={job.store}: no finished {name} in it; it has {names}")
        return [job.store, own]
    for name, source, split in _database(job):
        job.extract(source, folder=own, name=name, split=split, overwrite=job.overwrite)
    return [own]


def _unknown(job: Run) -> str:
    """Renders queries of recordings that are not in the database, and returns their list of files."""
    unknown, queries = job.protocol.unknown, job.protocol.queries
    source, noise = _materials(job, queries.noise)
    out = job.folder / "unknown"
    rendering.render(
        source,
        noise,
        out,
        split=unknown.split,
        names=queries.conditions,
        count=unknown.count,
        seconds=queries.seconds,
        seed=unknown.seed,
        jobs=job.jobs,
        show=job.show,
        overwrite=job.overwrite,
    )
    return f"{out}/list.txt"


def _database(job: Run) -> list[tuple[str, str, str | None]]:
    """Returns (name, source, split) of each store of the database. split: None for all of the source."""
    references, distractors = job.protocol.references, job.protocol.distractors
    place, *others = _places(job)
    sources: list[tuple[str, str, str | None]] = [("db", place, _split(job, place, references.split))]
    if not others:
        return sources
    (distractors_place,) = others
    split = _split(job, distractors_place, distractors.split)
    if split is None and distractors_place == place:
        return sources  # Nothing tells references from distractors, so all recordings are asked for.
    if split == "":
        _say(job, f"note: no music of split {distractors.split} in {distractors_place}: no distractors")
        return sources
    return [*sources, (stores.DUMMY, distractors_place, split)]


def _places(job: Run) -> list[str]:
    """Returns the place of the references and, if there are to be distractors, that of the distractors."""
    distractors = job.protocol.distractors
    references = _inside(job, job.source, job.protocol.references.folder)
    wanted = distractors.split or distractors.folder
    place = job.distractors or distractors.source or (job.source if wanted else "")
    return [references, _inside(job, place, distractors.folder)] if place else [references]


def _split(job: Run, place: str, split: str) -> str | None:
    """Returns the split to extract: None if the place has no splits, "" if it has none of these."""
    if job.protocol.kind == "given" or not split:
        return None
    splits = {piece.split for piece in material.Material(place).pieces if piece.kind == "music"}
    if splits == {""}:
        return None
    return split if splits & set(split.split(",")) else ""


def _extract_changed(job: Run, folder: str, name: str, source: str, *, speed: float = 1.0) -> None:
    """Fingerprints queries. If they have been rendered again since, it fingerprints them again."""
    note, key = pathlib.Path(folder, f"{name}.source"), _rendering_key(source)
    before = note.read_text() if note.exists() else key
    changed = job.overwrite or before != key
    job.extract(source, folder=folder, name=name, split=None, overwrite=changed, speed=speed)
    note.write_text(key)


def _rendering_key(source: str) -> str:
    """Returns a hash of the settings of rendered queries, or of the path of other audio."""
    settings = pathlib.Path(source).with_name(folder.SETTINGS)
    content = settings.read_bytes() if settings.exists() else source.encode()
    return hashlib.sha256(content).hexdigest()


def _evaluated(job: Run, query_set: tables.QuerySet, n_sets: int, folders: Sequence[str]) -> dict[str, Any]:
    """Evaluates one set of queries, and returns what its results.json holds."""
    setting = job.protocol.evaluation
    unknown = job.name_of("unknown") if job.protocol.unknown.count else setting.unknown
    request = {
        "store": list(folders),
        "out": str(job.folder / ("results" if n_sets == 1 else f"results-{query_set.condition}")),
        "query": query_set.name,
        "truth": query_set.truth or None,
        "lengths": evaluated.rows(folders[-1], query_set.name, _lengths_s(job.protocol)),
        "group": ["condition"] if query_set.truth else None,
        "unknown": unknown or None,
        **{name: getattr(setting, name) for name in ("index", "k", "n_probe", "compat")},
        "seed": setting.seed,
        "repeats": list(dict.fromkeys(_places(job))) if setting.repeats else [],
        **({"matcher": setting.matcher} if setting.matcher != "diagonal" else {}),
        **job.settings,
        "ids": _ids(job),
    }
    others = [name for name, _ in evaluated.at_speeds(query_set.name, setting.speeds)]
    return evaluated.evaluated(request, others, show=job.show)


def _lengths_s(protocol: Protocol) -> Sequence[float]:
    part = protocol.recording if protocol.kind == "recording" else protocol.evaluation
    return part.lengths_s


def _say(job: Run, text: str) -> None:
    if job.show:
        print(text, flush=True)
