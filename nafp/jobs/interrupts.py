"""Lets a long job end in good order when it is interrupted by Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Notes the first Ctrl-C or SIGTERM in `asked`, so that a loop can end its work. A second one stops at once.

    asked: whether a signal has come. terminated: whether a SIGTERM was among them, as schedulers send it before they
    take a machine away. patient: whether further SIGTERMs change nothing, because schedulers send several. The handlers
    are in place inside the `with` block only.
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
        """Raises KeyboardInterrupt during the block, which may wait for long, also for a signal that came before it."""
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
