"""Long recordings and streams in, lines out: what `nafp monitor` does with a network and a collection."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nafp import errors
from nafp.audio import live
from nafp.identify import identifier
from nafp.jobs import progress
from nafp.models import identities
from nafp.monitor import lines, stretches
from nafp.monitor import state as monitor_journal
from nafp.search import collection, confidence, index, index_files, store
from nafp.weights import sources

FOUND, NOTHING, FAILED = 0, 1, 2  # Exit codes; a failure outweighs what was found.
_LEAST_TOLERANCE = 0.01  # A network trained at one speed bears this much, one trained at several more.
_BORNE = 0.8  # Of the change of speed that a network was trained with.
_AHEAD_S = 5.0  # What comes faster than the clock is no stream but a recording, and has no time of day.
_FEW_ROWS = 32  # Segments that go through the network together.


class Request(NamedTuple):
    """What is asked; `nafp monitor --help` explains each.

    names: of inputs. database: folder; None with a store.
    """

    names: Sequence[str]
    database: str | None = None
    store: str | None = None
    name: Sequence[str] = ("db",)
    checkpoint: str = "small"
    runtime: str = "auto"
    max_speed: float = 4.0
    raw_hz: int = 0
    format: str = "text"
    out: str | None = None
    state: str | None = None
    unknown: bool = True
    playing: bool = False


class Opened(NamedTuple):
    """What is listened with: a network, and the fingerprints to look in."""

    network: Any
    rows: collection.Collection
    searched: index.Index
    calibrated: confidence.Confidence | None

    @property
    def digest(self) -> str:
        """Changes with the network and with the tracks."""
        rows = self.rows
        names = "\n".join(rows.tracks) + str([*rows.first_rows, *rows.end_rows])
        whole = identities.digest(self.network.identity) + names
        return hashlib.sha256(whole.encode(errors="surrogateescape")).hexdigest()


def run(request: Request, *, prepare: Callable[[], None] = lambda: None) -> int:
    """Does what `nafp monitor` does, and returns its exit code. prepare: called before JAX is used.

    Raises ValueError or FileNotFoundError for what cannot be right, before work starts.
    """
    _check(request)
    opened = open_collection(request, prepare=prepare)
    settings = {
        "searched": opened.digest,
        "max_speed": request.max_speed,
        "unknown": request.unknown,
        "format": request.format,
    }
    journal = monitor_journal.Journal(
        request.state,
        settings,
        out=request.out,
        first_line=lines.header(request.format),
        names=request.format == "text" and len(request.names) > 1,
    )
    with contextlib.closing(journal):
        codes = [_watch(name, request, opened, journal) for name in request.names]
    return max(codes, key=(NOTHING, FOUND, FAILED).index)


def open_collection(request: Request, *, prepare: Callable[[], None] = lambda: None) -> Opened:
    """Opens the database, or the store and the network that wrote it."""
    if request.runtime != "numpy":
        prepare()
    settings = {"runtime": request.runtime, "batch_size": _FEW_ROWS}
    if request.database:
        from nafp.database import database

        there = database.Database.open(request.database)
        found = Opened(there.network(**settings), there.rows, there.index, there.confidence)
        where = request.database
    else:
        where, network = request.store, sources.load(request.checkpoint, **settings)
        stores = [store.Store.open(where, name) for name in request.name]
        identifier.require_same(network.identity, stores)
        rows = collection.Collection.of(stores)
        chosen = index.plan("auto", n_rows=len(rows), dim=rows.dim)
        found = Opened(network, rows, index_files.opened(rows, chosen, where), None)
    if not len(found.rows.tracks):
        raise errors.Invalid(f"{where}: there is no track in it to look for; nafp add puts some in")
    return found


def speeds(network: Any, most: float) -> list[float]:
    """Lists the speeds to hear at, so that tracks up to `most` (0.05: 5 %) faster or slower are found."""
    trained_with = float(network.config.augment.get("speed", 0.0))
    tolerance = max(_LEAST_TOLERANCE, _BORNE * trained_with)
    return stretches.speeds_for(most, tolerance=tolerance)


def _check(request: Request) -> None:
    """Raises for what cannot be right."""
    live_ones = [name for name in request.names if _is_live(name)]
    if request.state and live_ones:
        raise errors.Invalid("--state is for files: a stream cannot be heard again from the middle on")
    if len(request.names) > 1 and live_ones:
        raise errors.Invalid("one stream at a time: start nafp monitor once for each of several")
    for name in live_ones:
        live.check(name, raw_hz=request.raw_hz)


def _is_live(name: str) -> bool:
    try:
        return live.opened(name).is_live
    except errors.Undecodable:  # A bad file, which is said when its turn comes.
        return False


def _watch(name: str, request: Request, opened: Opened, journal: monitor_journal.Journal) -> int:
    """Listens to one input; returns its exit code."""
    try:
        about = live.opened(name)
        return _Listener(about, request, opened, journal).listen()
    except errors.Undecodable as error:
        print(error, file=sys.stderr)
        return FAILED


class _Listener:
    """One input, from its beginning or where an earlier run stopped, to its end."""

    def __init__(self, about: live.Input, request: Request, opened: Opened, journal: monitor_journal.Journal):
        self._about, self._request, self._journal = about, request, journal
        self._rate_hz = opened.network.sample_rate_hz
        self._monitor = stretches.Monitor(
            opened.network,
            opened.rows,
            opened.searched,
            calibrated=opened.calibrated,
            speeds=speeds(opened.network, request.max_speed / 100),
        )
        self._began = datetime.datetime.now().astimezone() if about.is_live else None
        self._started_s = time.monotonic()
        self._n_found, self._told = 0, set()

    def listen(self) -> int:
        kept = self._journal.begin(self._about)
        if kept and kept["is_done"]:
            return FOUND if kept["n_found"] else NOTHING
        if kept:
            self._n_found = kept["n_found"]
            self._monitor.restore(kept["monitor"])
        with self._bar() as bar:
            try:
                self._hear(bar)
            except KeyboardInterrupt:  # Which is how listening to a stream ends.
                if self._request.state:
                    raise
            self._tell(self._monitor.finish())
            bar.add(round(self._monitor.heard_s - bar.done, 3))
        self._save(is_done=True)
        return FOUND if self._n_found else NOTHING

    def _hear(self, bar: progress.Progress) -> None:
        start_s = self._monitor.start_s
        for block in live.blocks(
            self._about.name, sample_rate_hz=self._rate_hz, start_s=start_s, raw_hz=self._request.raw_hz
        ):
            self._tell(self._monitor.hear(block))
            self._tell_playing()
            self._save(is_done=False)
            bar.add(round(self._monitor.heard_s - bar.done, 3))

    def _bar(self) -> progress.Progress:
        seconds = self._about.seconds or None
        done = round(self._monitor.heard_s, 3)
        show = not self._about.is_live and not (sys.stderr.isatty() and sys.stdout.isatty())
        return progress.Progress(seconds, "s", label=self._about.name, done=done, show=show)

    def _tell(self, found: Sequence[stretches.Stretch]) -> None:
        for stretch in found:
            self._n_found += bool(stretch.track)
            if stretch.track or self._request.unknown:
                self._journal.write(self._line(stretch))

    def _tell_playing(self) -> None:
        """Says, on standard error, what has just been recognised."""
        if not self._request.playing:
            return
        now = {(one.track, round(one.start_s)): one for one in self._monitor.now}
        for key in now.keys() - self._told:
            print("now playing: " + self._line(now[key], "text"), file=sys.stderr, flush=True)
        self._told = set(now)

    def _line(self, stretch: stretches.Stretch, format: str = "") -> str:
        heard_at = ""
        ahead_s = self._monitor.heard_s - (time.monotonic() - self._started_s)
        if self._began and ahead_s < _AHEAD_S:
            at = self._began + datetime.timedelta(seconds=stretch.start_s)
            heard_at = at.isoformat(sep=" ", timespec="seconds")
        return lines.said(stretch, self._about.name, format or self._request.format, heard_at=heard_at)

    def _save(self, *, is_done: bool) -> None:
        state = None if is_done else self._monitor.state()
        self._journal.save(self._about, monitor=state, is_done=is_done, n_found=self._n_found)
