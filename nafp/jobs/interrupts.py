"""Lets a long job end in good order when it is interrupted."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any


class Interrupt:
    """Sets `asked` at the first Ctrl-C or SIGTERM, for a loop to end its work. A second one stops at once.

    The handlers are in place inside the `with` block only.
    """

    def __enter__(self) -> Interrupt:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self._before[name] = signal.signal(name, self._ask)
        except ValueError:
            pass  # Outside the main thread no handler can be set: signals keep the handlers that they have.
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)
