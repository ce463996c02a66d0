"""Counts steps, time, and the time spent waiting for data, and reports them now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import optax

from nafp.training import journal, pipeline


class Meter:
    """The speed and the mean scores of a run since its last report.

    total: the steps of the run. every: the fewest steps between two reports. batch_size: segments of a step.
    """

    def __init__(self, log: journal.RunLog, *, total: int, every: int, batch_size: int):
        self._log, self._total, self._every, self._batch_size = log, total, every, batch_size
        self.started = self._since = time.monotonic()
        self._waited = 0.0
        self._scores: list[dict[str, float]] = []

    def is_late(self, minutes: float) -> bool:
        """Returns whether more than so many minutes have passed since the start. 0 stands for no limit."""
        return bool(minutes) and time.monotonic() - self.started > 60 * minutes

    def waiting(self, read: Callable[[], pipeline.Batch]) -> pipeline.Batch:
        """Returns what `read` does, and counts its time as time in which the host waits for data."""
        began = time.monotonic()
        batch = read()
        self._waited += time.monotonic() - began
        return batch

    def add(self, done: int, scores: dict[str, float], schedule: optax.Schedule) -> None:
        """Notes the scores of step `done`. Logs the means since the last report, if `every` steps and 5 seconds passed.

        The first step of a start, which compiles, and the last step of the run are always reported.
        """
        self._scores.append(scores)
        seconds, total = time.monotonic() - self._since, self._total
        first = done == 1 or self.started == self._since
        if done != total and not first and (len(self._scores) < self._every or seconds < 5):
            return
        mean = {k: float(np.mean([scores[k] for scores in self._scores])) for k in self._scores[0]}
        rate = len(self._scores) / seconds
        mean |= dict(
            learning_rate=float(schedule(done - 1)),
            steps_per_s=rate,
            segments_per_s=rate * self._batch_size,
            waiting=self._waited / seconds,
        )
        self._log.scalars(done, {f"train/{k}": v for k, v in mean.items()})
        self._log.say(
            f"step {done}/{total}  loss {mean['loss']:.3f}  found {100 * mean['accuracy']:.0f} %  "
            f"{mean['segments_per_s']:.0f} segments/s  waiting {100 * mean['waiting']:.1f} %  "
            f"left {_left(total - done, rate)}"
        )
        self._since, self._waited, self._scores = time.monotonic(), 0.0, []


def _left(steps: int, rate: float) -> str:
    minutes = steps / rate / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
