"""What a server has open: the database, the decoders, the desk and the counts. A clip passes through them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

from nafp import errors
from nafp.identify import answers, replying
from nafp.serving import acrcloud, browser_network, clients, decoding, desk, metrics, served
from nafp.serving.questions import AUDIO, Question
from nafp.serving.refusals import Refusal
from nafp.serving.settings import ServeSettings
from nafp.weights import sources

_AFTER_FAILURE_S = 5.0  # So that a log does not fill up.
_LOOKS_EVERY_S = 0.25  # For changes of the database. A look at an unchanged one costs two calls of stat.


class Service:
    """Everything that answers requests. `close` ends it.

    prepare: called before JAX is used. Raises errors.Error for a database that cannot be opened. On return the network
    is warm.
    """

    def __init__(self, settings: ServeSettings, *, prepare: Callable[[], None] = lambda: None):
        if sources.chosen(settings.runtime) == "jax":
            prepare()
        self.settings = settings
        self.database = served.ServedDatabase(settings.database, runtime=settings.runtime)
        self.decoders = decoding.Decoders(jobs=settings.n_jobs)
        self.desk = desk.Desk(
            jobs=settings.n_jobs, waiting=settings.waiting, within_s=settings.request_s, each=settings.client_jobs
        )
        self.clients = clients.Clients(settings.proxies)
        self.room = clients.Room(most_bytes=settings.room_bytes, each_bytes=settings.client_bytes)
        self.metrics = metrics.Metrics()
        # Streams go on for hours, so they have threads of their own.
        self.ears = futures.ThreadPoolExecutor(settings.listeners + 1, thread_name_prefix="nafp-listen")
        self.streams = clients.Shares(each=settings.client_listeners)
        self.n_listeners = self.n_refreshes = 0
        self.adding = asyncio.Lock()  # One recording at a time: it may be large.
        self.database.warm_up()
        self.browser_network = self._for_browsers()

    def reply(self, question: Question) -> answers.Reply:
        """Answers a question. Blocks until it is done, for a bounded time.

        A clip that gives no fingerprints gets a reply with an error. Raises Refusal for what is no question.
        """
        try:
            replied = self._reply(question)
        except errors.Undecodable as error:
            replied = answers.Reply(question.name, 0.0, error=error.reason)
        except errors.Invalid as error:
            replied = answers.Reply(question.name, 0.0, error=str(error))
        self.metrics.heard("unreadable" if replied.error else "found" if replied.answers else "unknown")
        return replied

    def _reply(self, question: Question) -> answers.Reply:
        if question.data_type != AUDIO:
            seconds, ranking = self.database.rank_vectors(question, longest_s=self.settings.clip_s)
        else:
            clip = self.decoders.decode(
                question.data,
                sample_rate_hz=self.database.listening_hz,
                seconds=self.settings.clip_s,
                within_s=self.settings.decoding_s,
            )
            seconds, ranking = clip.seconds, self.database.rank(clip.samples, question)
        return replying.of(question.name, seconds, ranking, top=question.top, least=question.least)

    def acrcloud(self, replied: answers.Reply) -> dict[str, Any]:
        """Returns a reply under the names of ACRCloud."""
        return acrcloud.reply(replied, self._describe)

    def add(self, data: bytes, name: str, metadata: Mapping[str, str]) -> Any:
        """Decodes a recording and adds it as a track, which it returns. Raises Refusal for what cannot be added."""
        try:
            recording = self.decoders.decode(
                data,
                sample_rate_hz=self.database.network.sample_rate_hz,
                seconds=self.settings.track_s + 1,
                within_s=6 * self.settings.decoding_s,
                with_tags=True,
            )
        except errors.Undecodable as error:
            raise Refusal(422, error.reason) from None
        if recording.seconds > self.settings.track_s:
            raise Refusal(413, f"{recording.seconds:.0f} s of audio; at most {self.settings.track_s:g} s are taken")
        return self.database.add(name, recording.samples, recording.tags | dict(metadata))

    def excerpt(self, number: int, start_s: float, seconds: float) -> bytes:
        """Returns a part of the recording of a track, as a WAV file. Raises Refusal 404 if its file gives none."""
        file = self.database.file_of(number)
        try:
            return self.decoders.excerpt(file, start_s=start_s, seconds=seconds, within_s=self.settings.decoding_s)
        except errors.Undecodable:
            raise Refusal(404, "the recording of this track cannot be played from there") from None

    async def follow(self) -> None:
        """Reads the database anew whenever a writer has committed something. Ends when it is cancelled."""
        while True:
            begun_s = time.monotonic()
            try:
                changed = await asyncio.to_thread(self.database.refresh)
            except Exception:  # What is open goes on answering.
                logging.getLogger(__name__).exception("the database could not be read anew")
                changed = False
                await asyncio.sleep(_AFTER_FAILURE_S)
            self.n_refreshes += changed
            # Under a writer that commits without pause, half of the time is left for answers.
            await asyncio.sleep(max(_LOOKS_EVERY_S, time.monotonic() - begun_s))

    def measured(self) -> bytes:
        """Returns all counts as text for Prometheus."""
        self.metrics.set(
            requests_inside=self.desk.n_inside,
            listeners=self.n_listeners,
            tracks=self.database.n_tracks,
            decoders_killed=self.decoders.n_killed,
            refreshes=self.n_refreshes,
        )
        return self.metrics.text()

    def close(self) -> None:
        """Ends the processes and closes the files."""
        self.desk.close()
        self.ears.shutdown(wait=False, cancel_futures=True)
        self.decoders.close()
        self.database.close()
        self.metrics.close()

    def _for_browsers(self) -> browser_network.BrowserNetwork | None:
        try:
            return browser_network.of(self.database.folder)
        except errors.Invalid as error:  # The page then sends sound, if it is told to.
            logging.getLogger(__name__).warning("browsers get no network: %s", error)
            return None

    def _describe(self, name: str) -> tuple[float, Mapping[str, str]]:
        try:
            track = self.database.track(name)
        except Refusal:  # It was removed a moment ago.
            return 0.0, {}
        return track.seconds, track.metadata
