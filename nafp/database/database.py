"""A collection that grows and shrinks: a folder with everything that is needed to add to it and to ask it.

DB/network.safetensors     the network and its configuration
DB/confidence.json         scores -> probabilities of that network, where they were measured
DB/catalogue.sqlite        tracks, their metadata, what belongs together (see `search.catalogue`)
DB/fingerprints-0000.log   fingerprints, only ever appended to (see `search.fingerprint_log`)
DB/segment-....faiss       indexes over parts of the log (see `search.segment_files`)
DB/writer.lock             says who writes
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import glob
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.database import catalogue, check, codes, index_segments, snapshot, writer, writer_lock
from nafp.identify import answers
from nafp.models import protocol
from nafp.search import confidence
from nafp.weights import files, sources

NETWORK, CONFIDENCE = "network.safetensors", "confidence.json"
FORMAT = 1
_LEFT_OVER = {
    NETWORK,
    CONFIDENCE,
    f"{NETWORK}.tmp",
    f"{catalogue.FILE}.new",
    writer_lock.NAME,
}  # By a killed creation.
_INTERNAL = ("files", "n_rows", "places", "gain")  # Of what the catalogue says.


class Database:
    """An open database, as it was when it was opened or last refreshed.

    folder: where it is. about: format, storage, dim, hop_s, segment_s, sample_rate_hz, network (its identity), ...
    Reading goes on while another process writes. Usable in a `with` statement.
    """

    def __init__(self, folder: str | os.PathLike, *, runtime: str = "auto"):
        self.folder, self._runtime = Path(folder), runtime
        _require(self.folder)
        self._catalogue = catalogue.Catalogue(self.folder)
        self.about = self._catalogue.about()
        if self.about.get("format") != FORMAT:
            raise errors.Invalid(f"{self.folder}: is of format {self.about.get('format')}, this nafp reads {FORMAT}")
        self._snapshot: snapshot.Snapshot | None = None
        self._identifier: Any = None

    @classmethod
    def open(cls, folder: str | os.PathLike, *, runtime: str = "auto") -> Database:
        """Opens a database. runtime: that `identify` computes the network with, as `nafp.weights.sources.load` has it.

        Raises FileNotFoundError where there is none, ValueError for one of another format.
        """
        return cls(folder, runtime=runtime)

    @classmethod
    def create(
        cls, folder: str | os.PathLike, *, network: str = "small", storage: str = "float16", hop_s: float | None = None
    ) -> Database:
        """Makes an empty database and opens it.

        network: what `nafp.load` takes; it is copied into the folder. storage: see `nafp.database.codes`; a learned
        one begins when there are fingerprints of nine hours, float16 until then. hop_s:
        between fingerprints; None for the network's own, twice as much halves the database. Raises FileExistsError
        for a folder with something in it.
        """
        folder, read = Path(folder), sources.read(network)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(writer_lock.take(folder)):
                if {path.name for path in folder.iterdir()} - _LEFT_OVER:
                    raise errors.AlreadyExists(f"{folder}: is not empty and no database; name a new folder")
                about = _put_network(folder, network, read)
                about["hop_s"] = hop_s or about["hop_s"]
                codes.check(storage, dim=about["dim"])
                # When there is enough to learn from.
                later = storage if storage in codes.LEARNED else None
                about |= {
                    "storage": "float16" if later else storage,
                    "wanted": later,
                    "generation": 0,
                    "n_rows": 0,
                }
                about |= {"format": FORMAT, "created": time.strftime("%Y-%m-%d %H:%M:%S")}
                catalogue.Catalogue.create(folder, about)
                index_segments.sync_folder(folder)
        except errors.Error:
            raise
        except OSError as error:
            raise writer_lock.unwritable(folder, error) from error
        return cls(folder)

    @property
    def rows(self) -> Any:
        """The fingerprints of all tracks, a `nafp.search.collection.Collection`; rows are numbered with gaps."""
        return self._now().rows

    @property
    def index(self) -> snapshot.Searched:
        """Searches the rows: `search(queries [n, D]) -> (cosines, rows)`."""
        return self._now().index

    @property
    def troubles(self) -> list[str]:
        """What is damaged or missing, in words, of what was opened so far; what is whole answers."""
        return self._now().troubles

    @property
    def hop_s(self) -> float:
        """Seconds from one fingerprint of a track to the next."""
        return self.about["hop_s"]

    @property
    def confidence(self) -> confidence.Confidence | None:
        """What a score is worth with this network; None where nobody measured it."""
        path = self.folder / CONFIDENCE
        try:
            return confidence.Confidence.load(path) if path.exists() else None
        except (ValueError, KeyError) as error:
            raise errors.Invalid(
                f"{path}: is damaged: {error}; restore it from a copy, or remove it to go on without probabilities"
            ) from error

    def network(self, *, runtime: str = "auto", batch_size: int = 0) -> protocol.Network:
        """Opens the network that travels with the database, its hop set to the database's.

        runtime, batch_size: as `nafp.weights.sources.load` has them. Raises ValueError for a damaged or exchanged file.
        """
        path = self.folder / NETWORK
        opened = sources.load(os.fspath(path), runtime=runtime, batch_size=batch_size)
        if opened.identity["sha256"] != self.about["network"]["sha256"]:
            raise errors.Invalid(
                f"{path}: is not the network that made these fingerprints, {self.about['network']['source']}; "
                "restore the file from a copy"
            )
        return opened.at_hop(segments.to_samples(self.hop_s, opened.sample_rate_hz))

    def identify(self, waveform: np.ndarray, sample_rate_hz: int, **settings: Any) -> list[answers.Answer]:
        """Names the tracks that a mono waveform [S] in -1..1 comes from, best first, none when it is in none.

        settings: top, least, as of `nafp.identify.identifier.Identifier.identify`.
        """
        from nafp.identify import identifier as identify

        if self._identifier is None:
            network = self.network(runtime=self._runtime, batch_size=identify.BATCH)
            self._identifier = identify.Identifier(network, self.rows, self.index, confidence=self.confidence)
        return self._identifier.identify(waveform, sample_rate_hz=sample_rate_hz, **settings)

    def __len__(self) -> int:
        """Counts the tracks."""
        return self._catalogue.counts()[0]

    def track(self, which: int | str) -> catalogue.Track:
        """Returns a track by number or name: path, seconds, metadata (title, artist, ...). Raises KeyError."""
        return self._catalogue.track(which)

    def tracks(self) -> Iterator[catalogue.Track]:
        """Yields all tracks there are now, by number."""
        return self._catalogue.tracks()

    def add(self, audio: Sequence[str], **settings: Any) -> Any:
        """Adds recordings and returns a report; see `nafp.database.from_audio.add`."""
        from nafp.database import from_audio

        return from_audio.add(self, audio, **settings)

    def remove(self, which: Sequence[int | str]) -> list[str]:
        """Takes tracks out, by number, name, file name or pattern; returns their names. Raises KeyError.

        Their space comes back with `compact`.
        """
        names = [name for each in which for name in self.matching(each)]
        with self.writer() as writing:
            writing.remove(names)
        self.refresh()
        return names

    def matching(self, which: int | str) -> list[str]:
        """Gives the names of the tracks that a number, name, file name or pattern ("*/live/*") means.

        Raises KeyError when there is none, or when a file name is that of several tracks.
        """
        if isinstance(which, str) and self._catalogue.has_name(which):
            return [which]
        with contextlib.suppress(KeyError, ValueError):
            return [self._catalogue.track(int(which)).name]
        names = [name for _, name, *_ in self._catalogue.places()]
        return _matching(str(which), names, self.folder)

    def merge(self, others: Sequence[str | os.PathLike], *, show: bool = False) -> Any:
        """Adds the tracks of other databases of the same network and returns a report; see `from_databases.merge`."""
        from nafp.database import from_databases

        return from_databases.merge(self, others, show=show)

    def verify(self, *, show: bool = False) -> check.Finding:
        """Reads every file and compares it with what was written."""
        return check.verify(self._catalogue, show=show)

    def repair(self, found: check.Finding) -> None:
        """Takes damaged tracks out, by what `verify` found, and writes log and index files anew.

        Raises ValueError for what only a copy can bring back: the network.
        """
        if catalogue.FILE in dict(found.damages):
            self._catalogue.close()
            with contextlib.closing(writer_lock.take(self.folder)):
                catalogue.Catalogue.restore(self.folder)
            self._catalogue = catalogue.Catalogue(self.folder)
        with self.writer() as writing:
            writing.remove(found.tracks)
            writing.compact()
        self.refresh()
        lost = [name for name, _ in found.damages if name in (NETWORK, CONFIDENCE)]
        if lost:
            raise errors.Invalid(
                f"{self.folder / lost[0]}: is damaged, and made of nothing here; restore it from a copy"
            )

    def compact(self, *, storage: str | None = None) -> int:
        """Gives the space of removed tracks back, and changes the storage if asked; returns the bytes saved.

        storage: see `search.codes`; what a smaller one loses does not come back.
        """
        before = self.info()["bytes"]
        with self.writer() as writing:
            writing.compact(storage)
        self.refresh()
        return before - self.info()["bytes"]

    def info(self) -> dict[str, Any]:
        """Counts what there is: tracks, seconds, fingerprints, bytes, and what the database says of itself."""
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
        } | {key: value for key, value in about.items() if key not in _INTERNAL}

    def writer(self) -> writer.Writer:
        """Opens the database for changes; `refresh` shows them here."""
        return writer.Writer(self.folder)

    def refresh(self) -> Database:
        """Goes on to the present state; index files that stayed are not opened again."""
        self.about, self._identifier = self._catalogue.about(), None
        if self._snapshot is not None:
            self._snapshot = snapshot.Snapshot(self.folder, self._catalogue, self._snapshot)
        return self

    def close(self) -> None:
        self._catalogue.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _now(self) -> snapshot.Snapshot:
        if self._snapshot is None:
            self._snapshot = snapshot.Snapshot(self.folder, self._catalogue)
        return self._snapshot


def _require(folder: Path) -> None:
    if any((folder / name).is_file() for name in (catalogue.FILE, catalogue.COPY)):
        return
    what = "no such folder" if not folder.is_dir() else f"no database: {catalogue.FILE} is missing"
    raise errors.NotFound(f"{folder}: {what}; nafp add {folder} AUDIO... makes one")


def _matching(which: str, names: Sequence[str], folder: Path) -> list[str]:
    if found := [name for name in names if which in (Path(name).name, Path(name).stem)]:
        if len(found) > 1:
            raise errors.UnknownTrack(
                f"{which}: {len(found)} tracks of {folder} are called so: {', '.join(found[:3])}; give a path"
            )
        return found
    if path := [name for name in names if name == os.path.abspath(which)]:
        return path
    if glob.has_magic(which):
        found = [name for name in names if any(fnmatch.fnmatchcase(each, which) for each in (name, Path(name).name))]
        if found:
            return found
    close = difflib.get_close_matches(which, [*names, *(Path(name).name for name in names)], n=1)
    raise errors.UnknownTrack(f"{which}: no such track in {folder}" + (f"; did you mean {close[0]}?" if close else ""))


def _put_network(folder: Path, source: str, read: tuple) -> dict[str, Any]:
    """Writes a network and its confidence into a folder; returns what the catalogue says of it."""
    file, target = sources.weights_file(source), folder / NETWORK
    if file.suffix == ".safetensors":
        shutil.copyfile(file, target)
    else:
        variables, config, step, name = read
        files.write(target, variables, config, step=step, source=name, format="safetensors")
    beside = file.with_suffix(".confidence.json")
    if beside.is_file():
        shutil.copyfile(beside, folder / CONFIDENCE)
    network = files.load(target)
    said = network.identity | {"source": source}
    audio, checksums = network.config.audio, {}
    for path in (target, folder / CONFIDENCE):
        if path.exists():
            _sync(path)
            checksums[path.name] = index_segments.size_and_checksum(path)
    about = {"dim": network.dim, "sample_rate_hz": network.sample_rate_hz, "network": said}
    return about | {"files": checksums, "segment_s": audio.segment_s, "hop_s": audio.hop_s}


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
