"""A collection that grows and shrinks: a folder with everything that is needed to add to it and to search it.

DB/network.safetensors     the network and its configuration (see `nafp.database.network_file`)
DB/confidence.json         turns scores of that network into probabilities, where they were measured
DB/catalogue.sqlite        tracks, their metadata, and the places of everything (see `nafp.database.catalogue`)
DB/fingerprints-0000.log   fingerprints, only ever appended to (see `nafp.database.fingerprint_log`)
DB/segment-....faiss       indexes over parts of the log (see `nafp.database.index_segments`)
DB/writer.lock             says who writes (see `nafp.database.writer_lock`)
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nafp import errors
from nafp.database import (
    catalogue,
    catalogue_files,
    check,
    creation,
    engine_facts,
    network_file,
    snapshot,
    track_names,
    writer,
    writer_lock,
)
from nafp.identify import answers
from nafp.jobs import several
from nafp.models import identities, protocol
from nafp.search import collection, confidence
from nafp.weights import sources

if TYPE_CHECKING:  # These take a while to import, and reading needs none of them.
    from nafp.database import from_audio, from_databases
    from nafp.identify import identifier

# Facts that `info` does not show as they are.
_INTERNAL = ("files", "n_rows", "places", "gain", "changes", engine_facts.FACT, engine_facts.LEFTOVERS)


class Database:
    """An open database, as it was when it was opened or last refreshed.

    folder: where it is. about: format, storage, dim, hop_s, segment_s, sample_rate_hz, network (its identity), and
    others. Reading goes on while another process writes. Usable in a `with` statement.
    """

    def __init__(self, folder: str | os.PathLike, *, runtime: str = "auto"):
        self.folder, self._runtime = Path(folder), runtime
        _require(self.folder)
        self._catalogue = catalogue.Catalogue(self.folder)
        self.about: dict[str, Any] = self._catalogue.about()
        if self.about.get("format") not in creation.FORMATS:
            known = " and ".join(map(str, creation.FORMATS))
            raise errors.Invalid(f"{self.folder}: is of format {self.about.get('format')}, this nafp reads {known}")
        self._lock = threading.RLock()
        self._snapshot: snapshot.Snapshot | None = None
        self._identifier: identifier.Identifier | None = None

    @classmethod
    def open(cls, folder: str | os.PathLike, *, runtime: str = "auto") -> Database:
        """Opens a database.

        runtime: what computes the network for `identify`, as for `nafp.weights.sources.load`. Raises errors.NotFound if
        there is no database, and errors.Invalid for one of another format.
        """
        return cls(folder, runtime=runtime)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike,
        *,
        network: str = "small",
        storage: str | None = None,
        hop_s: float | None = None,
        peaks: bool = False,
    ) -> Database:
        """Makes an empty database and opens it.

        network: what `nafp.load` takes. It is copied into the folder. storage: one of `nafp.database.codes.STORAGES`,
        None for pq2. A learned one, such as pq2, begins when there are fingerprints of nine hours; until then it is
        float16. hop_s: seconds between
        fingerprints, None for the network's own. Twice as much halves the database. peaks: whether spectral peaks are
        kept, too, 64 bytes a second, which find more of what other sound drowns. Raises errors.AlreadyExists for a
        folder with something in it.
        """
        creation.create(Path(folder), network=os.fspath(network), storage=storage, hop_s=hop_s, with_peaks=peaks)
        return cls(folder)

    @property
    def rows(self) -> collection.Collection:
        """The fingerprints of all tracks. Row numbers have gaps where tracks were removed."""
        return self._now().rows

    @property
    def index(self) -> snapshot.LiveIndex:
        """Searches the rows: `search(queries [n, D]) -> (cosines, rows)`."""
        return self._now().index

    @property
    def troubles(self) -> list[str]:
        """Damaged or missing files, in words. What is whole still answers."""
        calibration = self.folder / network_file.CONFIDENCE
        if calibration.name in self.about["files"] and not calibration.exists():
            lost = f"{calibration}: is missing: answers have no probability, and no clip is refused"
            return [lost, *self._now().troubles]
        return self._now().troubles

    @property
    def hop_s(self) -> float:
        """Seconds from one fingerprint of a track to the next."""
        return self.about["hop_s"]

    @property
    def confidence(self) -> confidence.Confidence | None:
        """Turns scores of this network into probabilities. None if nobody measured them."""
        return network_file.calibration(self.folder, written=self.about["files"])

    def network(self, *, runtime: str = "auto", batch_size: int = 0, source: str | None = None) -> protocol.Network:
        """Opens the network that travels with the database, at the hop of the database.

        runtime, batch_size: as for `nafp.weights.sources.load`. source: the same network in another form, such as an
        ONNX file, to be taken in its place. Raises errors.Invalid for a damaged or exchanged file.
        """
        return network_file.opened(self.folder, self.about, runtime=runtime, batch_size=batch_size, source=source)

    def identify(
        self, waveform: np.ndarray, sample_rate_hz: int, *, top: int = 5, least: float | None = None
    ) -> list[answers.Answer]:
        """Names the tracks that a mono waveform [S] in -1..1 comes from, best first. The list is empty if none.

        top, least: as for `nafp.identify.identifier.Identifier.identify`.
        """
        from nafp.identify import asking, identifier

        with self._lock:
            if self._identifier is None:
                network = self.network(runtime=self._runtime, batch_size=identifier.BATCH)
                self._identifier = identifier.Identifier(network, self.rows, self.index, confidence=self.confidence)
            asked = self._identifier
        least = asking.LEAST_PROBABLE if least is None else least
        return asked.identify(waveform, sample_rate_hz=sample_rate_hz, top=top, least=least)

    def __len__(self) -> int:
        """Counts the tracks."""
        return self._catalogue.counts()[0]

    def track(self, which: int | str) -> catalogue.DatabaseTrack:
        """Returns a track by number or name: path, seconds, metadata (title, artist, ...). Raises UnknownTrack."""
        return self._catalogue.track(which)

    def tracks(self) -> Iterator[catalogue.DatabaseTrack]:
        """Yields all tracks that there are now, by number."""
        return self._catalogue.tracks()

    def page(self, *, after: int = 0, limit: int = 100, text: str = "") -> list[catalogue.DatabaseTrack]:
        """Returns up to `limit` tracks with numbers above `after`, by number. text: part of a name or of metadata."""
        return self._catalogue.page(after=after, limit=limit, text=text)

    def add(
        self,
        audio: str | os.PathLike | Sequence[str | os.PathLike],
        *,
        metadata: Mapping[str, str] | None = None,
        runtime: str = "auto",
        batch_size: int = 0,
        threads: int | None = None,
        show: bool = True,
    ) -> from_audio.AddReport:
        """Adds recordings. Each track is safe once it is reported as done. Stopped at any time, the same call goes on.

        audio: names as `nafp.database.from_audio.listed` takes them. metadata, threads, show: as for
        `nafp.database.from_audio.add`. runtime, batch_size: as for `network`. Raises errors.Invalid before work starts
        for a name that is no audio, and errors.Locked while another process writes.
        """
        from nafp.database import from_audio

        recordings = from_audio.listed(several.names(audio), sample_rate_hz=self.about["sample_rate_hz"])
        with self._changes() as changes:
            return from_audio.add(
                changes,
                lambda: self.network(runtime=runtime, batch_size=batch_size),
                recordings,
                metadata=metadata,
                threads=threads,
                show=show,
            )

    def remove(self, which: int | str | Sequence[int | str] = (), *, glob: str | Sequence[str] = ()) -> list[str]:
        """Removes tracks, and returns their names. `compact` gives their space back.

        which: numbers, and names as strings: a name, a file name with or without suffix, a path, or "#17" for number
        17. glob: patterns. Raises UnknownTrack, and removes nothing, for one that means no track or more than one.
        """
        names = [name for key in several.values(which) for name in self._meant(key)]
        for pattern in several.names(glob):
            names += track_names.fitting(pattern, self._names(), folder=self.folder)
        names = list(dict.fromkeys(names))
        with self._changes() as changes:
            changes.remove(names)
        return names

    def _meant(self, which: int | str) -> list[str]:
        """Returns the name of the one track that a number or a string means. It is never guessed to be a pattern."""
        if isinstance(which, int):
            return [self._catalogue.track(which).name]
        exact = [which] if self._catalogue.has_name(which) else []
        return exact or track_names.named(which, self._names(), self._by_number(which), folder=self.folder)

    def _by_number(self, which: str) -> str | None:
        """Returns the name of the track with a number, given as "17" or "#17", or None."""
        digits = which.removeprefix("#")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
            return None
        with contextlib.suppress(errors.UnknownTrack):
            return self._catalogue.track(int(digits)).name
        return None

    def _names(self) -> list[str]:
        return [name for _, name, *_ in self._catalogue.places()]

    def matching(self, which: int | str) -> list[str]:
        """Returns the names of the tracks that a number, name, file name or pattern ("*/live/*") means.

        Raises errors.UnknownTrack if there is none, or if several tracks have that file name. `remove` guesses less.
        """
        if isinstance(which, int):
            return [self._catalogue.track(which).name]
        if self._catalogue.has_name(which):
            return [which]
        by_number = self._by_number(which)
        return [by_number] if by_number else track_names.matching(which, self._names(), folder=self.folder)

    def merge(
        self, others: str | os.PathLike | Sequence[str | os.PathLike], *, show: bool = False
    ) -> from_databases.MergeReport:
        """Adds the tracks of other databases of the same network. See `nafp.database.from_databases.merge`."""
        from nafp.database import from_databases

        with contextlib.ExitStack() as stack:
            databases = [stack.enter_context(Database.open(other)) for other in several.names(others)]
            changes = stack.enter_context(self._changes())
            return from_databases.merge(changes, [database._now() for database in databases], show=show)

    def verify(self, *, show: bool = False) -> check.VerifyReport:
        """Reads every file and compares it with what was written. show: whether to show progress."""
        return check.verify(self._catalogue, show=show)

    def repair(self, report: check.VerifyReport) -> None:
        """Removes damaged tracks, and writes log and index files anew.

        report: what `verify` found. Raises errors.Invalid, after that, for a damaged network, which only a copy can
        bring back.
        """
        damaged = [name for name, _ in report.damages]
        if catalogue.FILE in damaged:
            self._catalogue.close()
            with contextlib.closing(writer_lock.take(self.folder)):
                catalogue_files.restored(self.folder)
            self._catalogue = catalogue.Catalogue(self.folder)
        with self._changes() as changes:
            changes.remove(report.tracks)
            changes.compact()
        for name in (network_file.NETWORK, network_file.CONFIDENCE):
            if name in damaged:
                raise errors.Invalid(
                    f"{self.folder / name}: is damaged, and cannot be made from the other files; restore it from a copy"
                )

    def compact(self, *, storage: str | None = None, log_folder: str | None = None) -> int:
        """Frees the space of removed tracks, and returns the bytes saved.

        storage: one of `nafp.database.codes.STORAGES` to change to. What a smaller one loses does not come back.
        log_folder: where the log is to lie, such as a folder on another disk. Left out: where it is.
        """
        before = self.info()["bytes"]
        with self._changes() as changes:
            changes.compact(storage, log_folder)
        return before - self.info()["bytes"]

    def info(self) -> dict[str, Any]:
        """Counts tracks, seconds, fingerprints and bytes, and adds the facts of `about`."""
        n_tracks, n_rows, seconds = self._catalogue.counts()
        about = self._catalogue.about()
        n_bytes = sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())
        return {
            "tracks": n_tracks,
            "seconds": round(seconds, 3),
            "fingerprints": n_rows,
            "removed_fingerprints": about["n_rows"] - n_rows,
            "bytes": n_bytes,
            "index_files": len(self._catalogue.segments()),
            "engine": engine_facts.shown(about),
        } | {key: value for key, value in about.items() if key not in _INTERNAL}

    @contextlib.contextmanager
    def _changes(self) -> Iterator[writer.DatabaseWriter]:
        """Opens the database for changes within the block, and shows them here afterwards, also after an error."""
        try:
            with self.writer() as changes:
                yield changes
        finally:
            self.refresh()

    def writer(self) -> writer.DatabaseWriter:
        """Opens the database for changes. They show here after `refresh`."""
        return writer.DatabaseWriter(self.folder)

    def version(self) -> tuple[int, int]:
        """Returns what changes whenever there is something new to `refresh`."""
        return self._catalogue.version()

    def refresh(self) -> Database:
        """Goes on to the present state. Index files that stayed are not opened again."""
        self.about, self._identifier = self._catalogue.about(), None
        if self._snapshot is not None:
            self._snapshot = snapshot.Snapshot(self.folder, self._catalogue, self._snapshot)
        return self

    def close(self) -> None:
        """Closes the catalogue."""
        self._catalogue.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _now(self) -> snapshot.Snapshot:
        with self._lock:
            if self._snapshot is None:
                self._snapshot = snapshot.Snapshot(self.folder, self._catalogue)
            return self._snapshot


def open_or_create(
    folder: str | os.PathLike,
    *,
    checkpoint: str | None = None,
    storage: str | None = None,
    hop_s: float | None = None,
    peaks: bool | None = None,
) -> Database:
    """Opens a database, or makes one with this network ("small" by default), storage and hop, with or without peaks.

    Raises errors.Invalid if the database that is there has another network, storage or hop, or differs in peaks.
    """
    require_folder(Path(folder))
    if not (Path(folder) / catalogue.FILE).exists():
        network = checkpoint or sources.DEFAULT
        return Database.create(folder, network=network, storage=storage, hop_s=hop_s, peaks=bool(peaks))
    database = Database.open(folder)
    about = database.about
    for fact, asked, present in (
        ("storage", storage, about.get("wanted") or about["storage"]),
        ("hop_s", hop_s, about["hop_s"]),
        ("peaks", peaks, bool(about.get("peak_bytes"))),
    ):
        if asked is not None and asked != present:
            raise errors.Invalid(
                f"{folder}: its {fact} is {present}, not {asked}: leave the flag out, or name a new folder"
            )
    if checkpoint is not None and not identities.same_network(sources.load(checkpoint).identity, about["network"]):
        raise errors.Invalid(
            f"{folder}: was made with {about['network']['source']}, not with {checkpoint}: fingerprints of two "
            "networks cannot be compared. Leave --checkpoint out, or name a new folder"
        )
    return database


def _require(folder: Path) -> None:
    """Raises errors.NotFound if the folder holds no database."""
    if any((folder / name).is_file() for name in (catalogue.FILE, catalogue.COPY)):
        return
    require_folder(folder)
    reason = "no such folder" if not folder.is_dir() else f"no database: {catalogue.FILE} is missing"
    raise errors.NotFound(f"{folder}: {reason}; nafp add {folder} AUDIO... makes one")


def require_folder(folder: Path) -> None:
    """Raises errors.Invalid for what can be no folder of a database: an address, a pipe or a file."""
    if "://" in os.fspath(folder) or re.match(r"[a-z]+:/[^/]", os.fspath(folder)):
        raise errors.Invalid(f"{folder}: is an address; a database is a folder on this machine: copy it here first")
    if folder.exists() and not folder.is_dir():
        kind = "a file" if folder.is_file() else "no file and no folder, perhaps a pipe"
        raise errors.Invalid(
            f"{folder}: is {kind}; a database is a folder, and comes before the clips: nafp identify DB CLIP..."
        )
