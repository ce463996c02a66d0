"""`nafp monitor`: long recordings and streams in, one line for each track played out."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from nafp import errors
from nafp.audio import live
from nafp.database import database, snapshot
from nafp.identify import asking, identifier
from nafp.jobs import interrupts, outputs, progress, shown
from nafp.models import identities, protocol
from nafp.monitor import lines, state, stretches
from nafp.search import collection, confidence, index, index_files, store
from nafp.weights import calibrations, sources

FOUND, NOTHING, FAILED = 0, 1, 2  # Exit codes. A failure outweighs what was found.
_AHEAD_S = 5.0  # Audio that comes faster than the clock is a recording, not a stream: it has no time of day.
_BATCH = 32  # Segments that go through the network together.


class MonitorRequest(NamedTuple):
    """The settings of `nafp monitor`, whose --help explains each.

    names: the inputs. database: the folder of a database, or None when `store` is given. checkpoint: the network that
    wrote the store, "small" if None; of a database, its own network in another form, None for the one in its folder.
    """

    names: Sequence[str]
    database: str | None = None
    store: str | None = None
    name: Sequence[str] = ("db",)
    checkpoint: str | None = None
    confidence: str | None = None
    runtime: str = "auto"
    max_speed: float = asking.MAX_SPEED
    raw_hz: int = 0
    format: str = "text"
    out: str | None = None
    state: str | None = None
    unknown: bool = True
    playing: bool = False


class OpenedCollection(NamedTuple):
    """What inputs are compared with: a network, the fingerprints of a collection, their index, and a calibration.

    troubles: returns what is damaged in the database, as far as is known by then.
    """

    network: protocol.Network
    rows: collection.Collection
    searched: index.Index | snapshot.LiveIndex
    calibrated: confidence.Confidence | None
    troubles: Callable[[], Sequence[str]] = tuple

    @property
    def digest(self) -> str:
        """Changes with the network and with the tracks."""
        rows = self.rows
        tracks = "\n".join(rows.tracks) + str([*rows.first_rows, *rows.end_rows])
        text = identities.digest(self.network.identity) + tracks
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def run(request: MonitorRequest, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Listens to the inputs, writes their lines, and returns the exit code.

    prepare: called before JAX is used. Raises nafp.Error, before work starts, for settings that cannot be right.
    """
    _check(request)
    if request.out and not (request.state and os.path.exists(request.state)):
        inputs = [*request.names, *([request.state] if request.state else [])]
        outputs.require(request.out, verb="nafp monitor", is_former=lines.is_former, inputs=inputs)
    opened = open_collection(request, prepare=prepare)
    settings = {
        "searched": opened.digest,
        "max_speed": request.max_speed,
        "unknown": request.unknown,
        "format": request.format,
    }
    journal = state.MonitorJournal(
        request.state,
        settings,
        out=request.out,
        first_line=lines.header(request.format),
        names=request.format == "text" and len(request.names) > 1,
    )
    with contextlib.closing(journal), interrupts.Interrupt() as interrupt:
        codes = [_watch(name, request, opened, journal, interrupt) for name in request.names]
    for trouble in opened.troubles():
        print(shown.plain(f"damaged: {trouble}"), file=sys.stderr)
    return max(codes, key=(NOTHING, FOUND, FAILED).index)


def open_collection(request: MonitorRequest, *, prepare: Callable[[], None] = lambda: None) -> OpenedCollection:
    """Opens the database, or the store and the network that wrote it. The network comes last: it takes longest."""
    is_jax = sources.chosen(request.runtime, request.checkpoint or "") == "jax"
    opened = (_database if request.database else _store)(request, prepare if is_jax else lambda: None)
    if not len(opened.rows.tracks):
        raise errors.Invalid(f"{request.database or request.store}: holds no track to look for; nafp add puts some in")
    return opened


def _database(request: MonitorRequest, prepare: Callable[[], None]) -> OpenedCollection:
    opened = database.Database.open(request.database or "")
    calibrated = calibrations.chosen(request.confidence, lambda: opened.confidence)
    prepare()
    network = opened.network(runtime=request.runtime, batch_size=_BATCH, source=request.checkpoint)
    return OpenedCollection(network, opened.rows, opened.index, calibrated, lambda: opened.troubles)


def _store(request: MonitorRequest, prepare: Callable[[], None]) -> OpenedCollection:
    folder = request.store or ""
    stores = [store.Store.open(folder, name) for name in request.name]
    calibrated = calibrations.chosen(request.confidence, lambda: calibrations.beside(request.checkpoint))
    prepare()
    network = sources.load(request.checkpoint or sources.DEFAULT, runtime=request.runtime, batch_size=_BATCH)
    identifier.require_same(network.identity, stores)
    rows = collection.Collection.of(stores)
    plan = index.plan("auto", n_rows=len(rows), dim=rows.dim)
    return OpenedCollection(network, rows, index_files.opened(rows, plan, folder), calibrated)


def _check(request: MonitorRequest) -> None:
    """Raises errors.Invalid for inputs and settings that do not go together."""
    live.require_raw(request.raw_hz)
    streams = [name for name in request.names if _is_live(name)]
    if request.state and streams:
        raise errors.Invalid("--state is for files: a stream cannot be heard again from its middle")
    if len(request.names) > 1 and streams:
        raise errors.Invalid("one stream at a time: start nafp monitor once for each of several")
    for name in streams:
        live.check(name, raw_hz=request.raw_hz)


def _is_live(name: str) -> bool:
    try:
        return live.opened(name).is_live
    except errors.Undecodable:  # A bad file, which is named when its turn comes.
        return False


def _watch(
    name: str,
    request: MonitorRequest,
    opened: OpenedCollection,
    journal: state.MonitorJournal,
    interrupt: interrupts.Interrupt,
) -> int:
    """Listens to one input and returns its exit code."""
    try:
        about = live.opened(name)
        return _Listener(about, request, opened, journal).listen(interrupt)
    except errors.Undecodable as error:
        print(shown.plain(error), file=sys.stderr)
        return FAILED


class _Listener:
    """One input, heard to its end: from its beginning, or from where an earlier run stopped."""

    def __init__(
        self, about: live.Input, request: MonitorRequest, opened: OpenedCollection, journal: state.MonitorJournal
    ):
        self._about, self._request, self._journal = about, request, journal
        self._rate_hz = opened.network.sample_rate_hz
        self._monitor = stretches.Monitor(
            opened.network,
            opened.rows,
            opened.searched,
            calibrated=opened.calibrated,
            speeds=stretches.speeds(opened.network, request.max_speed / 100),
        )
        self._began = datetime.datetime.now().astimezone() if about.is_live else None
        self._started_s = time.monotonic()
        self._n_found = 0
        self._lost: list[str] = []  # Tracks that were named as lost.
        self._announced: set[tuple[str, int]] = set()

    def listen(self, interrupt: interrupts.Interrupt) -> int:
        """Listens, writes a line for each stretch, and returns the exit code.

        An interrupt is how listening to a stream ends. What is heard of a file is written, too, or kept in the state,
        and KeyboardInterrupt goes on.
        """
        saved = self._journal.begin(self._about)
        if saved and saved.get("is_done"):
            return FOUND if saved.get("n_found") else NOTHING
        if saved:
            try:
                self._n_found = int(saved["n_found"])
                self._monitor.restore(saved["monitor"])
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise errors.Invalid(
                    f"{self._request.state}: is damaged: {error!r}; remove it to start anew"
                ) from error
        with self._bar() as bar:
            is_whole = self._hear(bar, interrupt)
            if not is_whole and self._request.state:
                raise KeyboardInterrupt
            self._write(self._monitor.finish())
            self._name_lost()
            bar.add(round(self._monitor.heard_s - bar.done, 3))
        if not is_whole and not self._about.is_live:
            raise KeyboardInterrupt
        self._save(is_done=True)
        return FAILED if self._lost else FOUND if self._n_found else NOTHING

    def _hear(self, bar: progress.Progress, interrupt: interrupts.Interrupt) -> bool:
        """Listens to the end, and returns whether it came. A signal ends it between two blocks, never within one."""
        blocks = live.blocks(
            self._about.name,
            sample_rate_hz=self._rate_hz,
            start_s=self._monitor.start_s,
            raw_hz=self._request.raw_hz,
        )
        while True:
            try:
                with interrupt.waiting():
                    block = next(blocks, None)
            except KeyboardInterrupt:
                return False
            if block is None:
                return True
            self._write(self._monitor.hear(block))
            self._announce()
            self._name_lost()
            self._save(is_done=False)
            bar.add(round(self._monitor.heard_s - bar.done, 3))

    def _name_lost(self) -> None:
        """Names on standard error the tracks that are heard, but whose fingerprints are damaged."""
        for track in set(self._monitor.lost) - set(self._lost):
            print(shown.plain(f"{self._about.name}: {identifier.lost_in_words([track])}"), file=sys.stderr, flush=True)
        self._lost = self._monitor.lost

    def _bar(self) -> progress.Progress:
        seconds = self._about.seconds or None
        done_s = round(self._monitor.heard_s, 3)
        show = not self._about.is_live and not (sys.stderr.isatty() and sys.stdout.isatty())
        return progress.Progress(seconds, "s", label=self._about.name, done=done_s, show=show)

    def _write(self, ended: Sequence[stretches.Stretch]) -> None:
        """Writes the lines of stretches that have ended."""
        for stretch in ended:
            self._n_found += bool(stretch.track)
            if stretch.track or self._request.unknown:
                self._journal.write(self._line(stretch))

    def _announce(self) -> None:
        """Says on standard error which tracks were recognised just now."""
        if not self._request.playing:
            return
        playing = {(stretch.track, round(stretch.start_s)): stretch for stretch in self._monitor.now}
        for key in playing.keys() - self._announced:
            print("now playing: " + self._line(playing[key], "text"), file=sys.stderr, flush=True)
        self._announced = set(playing)

    def _line(self, stretch: stretches.Stretch, format: str = "") -> str:
        heard_at = ""
        ahead_s = self._monitor.heard_s - (time.monotonic() - self._started_s)
        if self._began and ahead_s < _AHEAD_S:
            at = self._began + datetime.timedelta(seconds=stretch.start_s)
            heard_at = at.isoformat(sep=" ", timespec="seconds")
        return lines.said(stretch, self._about.name, format or self._request.format, heard_at=heard_at)

    def _save(self, *, is_done: bool) -> None:
        monitor = None if is_done else self._monitor.state()
        self._journal.save(self._about, monitor=monitor, is_done=is_done, n_found=self._n_found)
