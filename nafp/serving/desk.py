"""How much is done at once: a few requests at work, some waiting, and the rest told to come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from concurrent import futures
from typing import Any, TypeVar

from nafp.serving import clients, refusals

Result = TypeVar("Result")


class Desk:
    """Takes in requests and does their work in threads.

    jobs: how many are done at once. waiting: how many more may be inside, from the first byte of their body on.
    within_s: seconds that a request may wait and be worked on. each: how many of one client may be inside. n_inside:
    how many there are now.
    """

    def __init__(self, *, jobs: int, waiting: int, within_s: float, each: int):
        self._most, self._within_s = jobs + waiting, within_s
        self._threads = futures.ThreadPoolExecutor(jobs, thread_name_prefix="nafp-serve")
        self._shares = clients.Shares(each=each)
        self.n_inside = 0

    @contextlib.contextmanager
    def admitted(self, client: str) -> Iterator[None]:
        """Counts a request as inside during the block. Raises Refusal 503 if there are too many, and 429 of one client.

        client: as of `clients.Clients.of`.
        """
        if self.n_inside >= self._most:
            raise refusals.busy(f"{self._most} requests are being answered already")
        with self._shares.taken(client):
            self.n_inside += 1
            try:
                yield
            finally:
                self.n_inside -= 1

    async def do(
        self, work: Callable[[], Result], *, gone: Callable[[], Coroutine[Any, Any, None]], within_s: float = 0.0
    ) -> Result:
        """Returns what `work` returns, from one of the threads.

        gone: waits until the client has left. Raises ClientGone then, and Refusal 503 when time is over. Work that has
        begun goes on in both cases, to an end that `work` itself has to bound, and keeps its thread until then.
        """
        within_s = within_s or self._within_s
        working = asyncio.wrap_future(self._threads.submit(work))
        leaving = asyncio.ensure_future(gone())
        try:
            both: set[asyncio.Future[Any]] = {working, leaving}
            await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if leaving.done():
                raise refusals.ClientGone
            raise refusals.busy(f"no answer within {within_s:g} s")
        finally:
            leaving.cancel()
            working.cancel()

    def close(self) -> None:
        """Drops the work that has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
