"""A database that is served: it follows its writers, answers from several threads, and takes changes of its own.

Several processes may serve one database. They map the same log, so that its fingerprints are in memory once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nafp import errors
from nafp.corpora import corpus
from nafp.database import catalogue, database, from_audio, writer
from nafp.identify import identifier
from nafp.models import identities
from nafp.monitor import stretches
from nafp.serving import refusals, vectors
from nafp.serving.questions import Question
from nafp.serving.refusals import Refusal

_PATIENCE_S = 5.0  # For another writer, before a change is refused. One track takes milliseconds.
_WARM_S = 6.0  # Sound for the first answer. It is in no collection, so that all speeds are tried.


class Moment(NamedTuple):
    """What clips are identified in: an identifier over the tracks that there were at one moment, and their number."""

    identifier: identifier.Identifier
    rows: Any
    index: Any
    n_tracks: int


class ServedDatabase:
    """An open database for many threads. `refresh` lets it follow its writers, between answers, not within one.

    network: what computes fingerprints. Raises errors.Error if the database cannot be opened.
    """

    def __init__(self, folder: str | os.PathLike, *, runtime: str = "auto"):
        self.folder = Path(folder)
        self._database = database.Database.open(folder)
        self._state = self._now()
        self.about = self._database.about
        self.network = self._database.network(runtime=runtime, batch_size=identifier.BATCH)
        self.calibrated = self._database.confidence
        self._moment = self._look()
        # The catalogue for lists. Its own connection, because a transaction belongs to a connection, not to a thread.
        self._book = database.Database.open(folder)
        self._reading, self._refreshing = threading.Lock(), threading.Lock()
        self._counted: tuple[tuple, dict[str, Any]] | None = None

    @property
    def listening_hz(self) -> int:
        """The rate to decode clips at."""
        return identifier.listening_rate_hz(self.network.sample_rate_hz)

    @property
    def n_tracks(self) -> int:
        """Number of tracks that clips are compared with now."""
        return self._moment.n_tracks

    def warm_up(self) -> None:
        """Answers once, so that nobody waits for what the first answer costs: compiled programs, pages of files.

        A search engine that does not answer is noted in the log: it may come back, and until then requests get 503.
        """
        noise = np.random.default_rng(0).standard_normal(round(_WARM_S * self.listening_hz)).astype(np.float32)
        with contextlib.suppress(Refusal), _engine_answers():
            self._moment.identifier.rank(noise / 10, sample_rate_hz=self.listening_hz)

    def rank(self, samples: np.ndarray, question: Question) -> identifier.RankedClip:
        """Ranks the tracks that samples [S] at `listening_hz` come from. At least two, so that several are noticed."""
        top = max(2, question.top)
        with _engine_answers():
            asked = self._moment.identifier
            return asked.rank(samples, sample_rate_hz=self.listening_hz, top=top, least=question.least)

    def rank_vectors(self, question: Question, *, longest_s: float) -> tuple[float, identifier.RankedClip]:
        """Returns the seconds of a clip of which only the fingerprints are known, and the ranking of its tracks.

        Raises Refusal for fingerprints of another network, or in other numbers than stated.
        """
        self._require_same_network(question.network)
        sent = vectors.parse(question, self.network, longest_s=longest_s)
        top, asked = max(2, question.top), self._moment.identifier
        with _engine_answers():
            return sent.seconds, asked.rank_vectors(sent.by_speed, shifts=sent.shifts, top=top, least=question.least)

    def monitor(self, *, most_speed: float) -> stretches.Monitor:
        """Returns a monitor over the tracks of now, for tracks up to `most_speed` (0.05: 5 %) faster or slower."""
        moment = self._moment
        if not moment.n_tracks:
            raise errors.Invalid("the database holds no track to look for")
        return stretches.Monitor(
            self.network,
            moment.rows,
            moment.index,
            calibrated=self.calibrated,
            speeds=stretches.speeds(self.network, most_speed),
        )

    def refresh(self) -> bool:
        """Goes on to what is committed now, if anything was since the last call. Returns whether it did."""
        with self._refreshing:
            state = self._now()
            if state == self._state:
                return False
            self._database.refresh()
            if not identities.same_network(self._database.about["network"], self.about["network"]):
                raise errors.Invalid(f"{self.folder}: has another network now; start nafp serve again")
            self._moment, self._state = self._look(), state
            return True

    def info(self) -> dict[str, Any]:
        """Counts tracks, seconds and fingerprints, as they were at the last commit. To count again takes a while."""
        with self._reading:
            state = self._book.version()
            if self._counted is None or self._counted[0] != state:
                self._counted = state, self._book.info()
            return self._counted[1]

    def page(self, *, after: int, limit: int, text: str) -> list[catalogue.DatabaseTrack]:
        """Returns tracks as `Database.page` does."""
        with self._reading:
            return self._book.page(after=after, limit=limit, text=text)

    def track(self, which: int | str) -> catalogue.DatabaseTrack:
        """Returns a track by number or name. Raises Refusal 404."""
        try:
            with self._reading:
                return self._book.track(which)
        except (errors.UnknownTrack, OverflowError):  # The latter for a number beyond 64 bits.
            raise Refusal(404, f"no track {which}") from None

    def file_of(self, number: int) -> str:
        """Returns the file that a track was added from. Raises Refusal 404 if it is not there any more.

        Its name is that in the catalogue. One that came over HTTP has no slash in it, and is no path.
        """
        name = self.track(number).name
        with contextlib.suppress(OSError, ValueError):
            if os.path.isabs(name) and stat.S_ISREG(os.stat(name).st_mode):
                return name
        raise Refusal(404, "the recording of this track is not on this server")

    def add(self, name: str, samples: np.ndarray, metadata: Mapping[str, str]) -> catalogue.DatabaseTrack:
        """Adds a recording, samples [S] at the network's rate, as a track of this name. It can be found on return.

        Raises Refusal 409 for a name or audio that is there, and 422 for audio that cannot be fingerprinted.
        """
        seconds = len(samples) / self.network.sample_rate_hz
        source = corpus.Source(name, seconds, lambda: iter([samples]))
        recording = from_audio.NewRecording(source, False, metadata)
        with self._changes() as changes:
            report = from_audio.add(changes, lambda: self.network, [recording], threads=1, show=False)
        if report.failures:
            raise Refusal(422, report.failures[0][1])
        if report.known:
            raise Refusal(409, f"this audio is there already, as the track {report.known[0][1]!r}")
        if not report.added:
            raise Refusal(409, f"there is a track {name!r} already")
        self.refresh()
        return self.track(name)

    def remove(self, number: int) -> None:
        """Removes a track. Raises Refusal 404 if there is none of this number."""
        name = self.track(number).name
        with self._changes() as changes:
            changes.remove([name])
        self.refresh()

    def close(self) -> None:
        """Closes the files."""
        self._database.close()
        self._book.close()

    @contextlib.contextmanager
    def _changes(self) -> Iterator[writer.DatabaseWriter]:
        """Opens the database for changes. Waits a while for another writer, then refuses, as for a full disk."""
        try:
            with self._patiently_opened() as changes:
                yield changes
        except errors.Locked:
            raise refusals.busy("the database is being changed by another process") from None
        except errors.Unwritable as error:
            logging.getLogger(__name__).error("%s", error)
            raise Refusal(507, "the database cannot be written: its disk is full or read-only") from None

    def _patiently_opened(self) -> writer.DatabaseWriter:
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self._database.writer()
            except errors.Locked:
                if time.monotonic() > end_s:
                    raise
            time.sleep(0.05)

    def _now(self) -> tuple:
        """Returns what changes with every commit, and with a catalogue that was put in place of another one.

        A commit is on the disk before it can be read, so times of files say too early that there is something new.
        """
        return self._database.version(), _file_number(self.folder / catalogue.FILE)

    def _look(self) -> Moment:
        rows, searched = self._database.rows, self._database.index
        for trouble in self._database.troubles:
            logging.getLogger(__name__).warning("damaged: %s", trouble)
        asked = identifier.Identifier(self.network, rows, searched, confidence=self.calibrated)
        return Moment(asked, rows, searched, len(rows.tracks))

    def _require_same_network(self, digest: str) -> None:
        identity = self.network.identity
        own = {identity.get("sha256"), identity.get("sha256_before")} - {None}
        if digest not in own:
            raise Refusal(
                409,
                f"these fingerprints are of network {digest[:12]}..., those of the database of "
                f"{identity['sha256'][:12]}...: fingerprints of two networks cannot be compared",
            )


@contextlib.contextmanager
def _engine_answers() -> Iterator[None]:
    """Refuses a request within the block, as one for later, if the search engine of the database fails."""
    try:
        yield
    except errors.EngineFailed as error:
        logging.getLogger(__name__).error("%s", error)
        raise refusals.busy("the search engine of this database does not answer") from None


def _file_number(path: Path) -> int:
    """Returns the number of a file on its disk, 0 if it is not there."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0
