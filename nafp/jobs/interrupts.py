"""Lets a long job end in good order when it is interrupted."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Sets `asked` at the first Ctrl-C or SIGTERM, for a loop to end its work. A second one stops at once.

    The handlers are in place inside the `with` block only. terminated: whether a SIGTERM came, as schedulers send it
    before they take a machine away. patient: whether further SIGTERMs change nothing, because schedulers send several.
    """

    def __init__(self, *, patient: bool = False):
        self._patient = patient

    def __enter__(self) -> Interrupt:
        self.asked, self.terminated, self._is_waiting = False, False, False
        self._before: dict[signal.Signals, Any] = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self._before[name] = signal.signal(name, self._ask)
        except ValueError:
            pass  # Outside the main thread no handler can be set: signals keep the handlers that they have.
        return self

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Raises KeyboardInterrupt at the first signal during the block, which may wait for long, or before it."""
        self._is_waiting = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self._is_waiting = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        is_first, self.asked = not self.asked, True
        by_scheduler = number == signal.SIGTERM
        self.terminated |= by_scheduler
        if self._is_waiting or not (is_first or (by_scheduler and self._patient)):
            raise KeyboardInterrupt

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)
