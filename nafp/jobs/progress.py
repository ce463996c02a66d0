"""Progress of a long job: count, rate and time left, for a terminal or a log file."""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from nafp.jobs import shown


class Progress:
    """Counts steps and shows them: one updating line on a terminal, plain lines elsewhere.

    total: the number of steps, None if unknown (then no time left is shown). unit: what a step is called, in the
    plural. label: the words at the beginning of each line. done: steps that an earlier run has finished. They count as
    progress but not for the rate. show: False counts without writing. out: the stream to write to, standard error by
    default. every_s: seconds between two lines, by default 0.2 on a terminal and 10 elsewhere. clock: returns seconds.
    Usable in a `with` statement.
    """

    def __init__(
        self,
        total: float | None,
        unit: str,
        *,
        label: str = "",
        done: float = 0,
        show: bool = True,
        out: TextIO | None = None,
        every_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.unit, self.label = total, unit, shown.plain(label)
        self.done, self._done_before, self._status = done, done, ""
        self._show_it, self._out = show, out if out is not None else sys.stderr
        self._live = bool(getattr(self._out, "isatty", bool)())
        self._every_s = every_s if every_s is not None else (0.2 if self._live else 10.0)
        self._clock, self._started = clock, clock()
        self._shown, self._width, self._closed = self._started, 0, False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def add(self, n: float = 1, *, status: str = "") -> None:
        """Counts n more steps. status: the text at the end of the line, which stays until the next status."""
        self.done += n
        self._status = status or self._status
        if self._clock() - self._shown >= self._every_s:
            self._show()

    def note(self, text: str) -> None:
        """Prints a separate line above the updating one."""
        self._clear()
        self._print(shown.plain(text))

    def close(self) -> None:
        """Prints the last line. Further calls do nothing."""
        if self._closed:
            return
        self._closed = True
        self._clear()
        elapsed_s = self._clock() - self._started
        steps = self.done - self._done_before
        text = _number(self.done)
        if self.total is not None and text != _number(self.total):
            text += f" of {_number(self.total)}"
        text += f" {self.unit} in {duration(elapsed_s)}"
        self._print(self._head() + text + self._rate(steps, elapsed_s))

    def line(self) -> str:
        """Returns the present state as one line of text."""
        elapsed_s = self._clock() - self._started
        steps = self.done - self._done_before
        if self.total is None:
            text = f"{_number(self.done)} {self.unit}"
        else:
            share = 100 * self.done / self.total if self.total else 100
            text = f"{_number(self.done)}/{_number(self.total)} {self.unit}, {share:.0f} %"
        text += self._rate(steps, elapsed_s)
        if self.total is not None and steps > 0 and elapsed_s > 0:
            text += f", {duration((self.total - self.done) * elapsed_s / steps)} left"
        return self._head() + text + (f"  {self._status}" if self._status else "")

    def _head(self) -> str:
        return f"{self.label}: " if self.label else ""

    def _rate(self, steps: float, elapsed_s: float) -> str:
        return f", {_number(steps / elapsed_s)} {self.unit}/s" if steps > 0 and elapsed_s > 0 else ""

    def _print(self, text: str) -> None:
        if self._show_it:
            print(text, file=self._out, flush=True)

    def _show(self) -> None:
        self._shown = self._clock()
        if not (self._live and self._show_it):
            self._print(self.line())
            return
        text = self.line()[: self._columns()]  # A line that wraps could not be written over.
        self._out.write("\r" + text.ljust(self._width))
        self._width = len(text)
        self._out.flush()

    def _columns(self) -> int | None:
        """Returns the number of characters that fit on a line of the terminal, None if it is unknown."""
        try:
            return max(1, os.get_terminal_size(self._out.fileno()).columns - 1)
        except (AttributeError, OSError, ValueError):  # A stream that is no file.
            return None

    def _clear(self) -> None:
        if self._live and self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._width = 0


def duration(seconds: float) -> str:
    """Returns a time as a person writes it: "8 s", "3 min 20 s", "2 h 05 min"."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
