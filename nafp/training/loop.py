"""The training loop: batches in, checkpoints out."""

from __future__ import annotations

import math
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import optax

import nafp.config
from nafp import errors
from nafp.jobs import interrupts
from nafp.models import network
from nafp.training import augment, beginning, data, journal, pictures, pipeline, step, validation
from nafp.weights import checkpoints


class EarlyStopping(NamedTuple):
    """What early stopping remembers, saved with the state: the best score, and the validations since then."""

    best: np.ndarray
    since_best: np.ndarray

    def after(self, score: float) -> EarlyStopping:
        if score > self.best:
            return EarlyStopping(np.array(score, np.float64), np.array(0, np.int64))
        return EarlyStopping(self.best, np.array(self.since_best + 1, np.int64))


class _Limits(NamedTuple):
    """When a run logs, validates, saves and ends. total: its steps. per_epoch: the steps of an epoch. 0: never."""

    total: int
    per_epoch: int
    batch_size: int
    log_every: int
    save_every: int
    validate_every_epochs: int
    patience: int
    minutes: float


def train(config: ml_collections.ConfigDict, workdir: str, *, resume_from: int | None = None) -> step.State:
    """Trains until the configuration says stop, resuming the run in `workdir` if any. Returns the last state.

    resume_from: a step to go back to; later checkpoints are set aside. Raises errors.Invalid for impossible settings
    before anything is read, and errors.NotFinite if a loss is not a number.
    """
    nafp.config.validated(config)
    beginning.check_devices(config)
    run = pathlib.Path(workdir).expanduser()
    beginning.check_unchanged(run, config)
    parameters = beginning.parameters(config.train.begin_from, config.model)
    settings = augment.settings(audio=config.audio, augment=config.augment)
    opened = data.open_data(config, settings)
    limits = _limits(config, opened.epoch)
    recipe = step.recipe_of(config, settings, total_steps=limits.total, epoch_steps=limits.per_epoch)
    log = journal.RunLog(run, config)
    for note in opened.notes:
        log.say(note)
    kept = checkpoints.Checkpoints(
        run, keep=config.checkpoint.keep, keep_every_steps=config.checkpoint.keep_every_steps
    )
    try:
        session = _Session(config, recipe, opened, kept, log, limits)
        if session.resume(resume_from) is None:
            session.begin(run, parameters, source=config.train.begin_from)
        else:
            log.say(f"resumes {run} at step {session.done} of {limits.total}")
        return session.run(run)
    finally:
        kept.close()
        log.close()


def _limits(config: ml_collections.ConfigDict, n_windows: int) -> _Limits:
    train, pairs = config.train, nafp.config.anchors(config)
    per_epoch = train.steps_per_epoch or max(1, n_windows // pairs)
    return _Limits(
        total=train.steps or train.epochs * per_epoch,
        per_epoch=per_epoch,
        batch_size=train.batch_size,
        log_every=train.log_every,
        save_every=config.checkpoint.every_steps,
        validate_every_epochs=config.validate.every_epochs,
        patience=config.validate.patience,
        minutes=train.minutes,
    )


class _Session:
    """One start of a run: the state on the devices, and when to log, validate, save and stop.

    config: is saved with every checkpoint.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        recipe: step.Recipe,
        opened: data.Data,
        kept: checkpoints.Checkpoints,
        log: journal.RunLog,
        limits: _Limits,
    ):
        self.config, self.recipe, self.opened = config, recipe, opened
        self.kept, self.log, self.limits = kept, log, limits
        n_mels, n_frames = network.mel_shape(config)
        self.state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
        self.stopping = EarlyStopping(np.array(-np.inf), np.array(0, np.int64))
        self.done = 0
        self.search: validation.MiniSearch | None = None
        if opened.examples is not None:
            self.search = validation.MiniSearch(
                recipe, opened.validation_banks, opened.examples, lengths=tuple(config.validate.lengths)
            )

    def begin(self, run: pathlib.Path, parameters: dict[str, Any] | None, *, source: str) -> None:
        """Begins a new run, with the parameters of another if given."""
        if parameters is not None:
            self.state = self.state._replace(**parameters)
        count = sum(x.size for x in jax.tree.leaves(self.state.params))
        origin = f" of {source}" if parameters is not None else ""
        devices = f"{jax.device_count()} {jax.devices()[0].platform} device(s)"
        self.log.say(
            f"starts anew in {run}: {count:,} parameters{origin}, {self.limits.total} steps of "
            f"{self.limits.batch_size} segments on {devices}"
        )

    def resume(self, resume_from: int | None) -> int | None:
        """Restores the latest checkpoint, or that of the step `resume_from`. Returns its step, None without one."""
        if resume_from is not None:
            self.kept.go_back_to(resume_from)
        latest = self.kept.latest if resume_from is None else resume_from
        if latest is None:
            return None
        variables, rest = self.kept.restore(
            latest, variables=_variables(self.state), state=self._rest(self.state), stream=self.opened.stream
        )
        params, batch_stats = variables["params"], variables["batch_stats"]
        self.state = step.State(rest["step"], params, batch_stats, rest["optimizer"], rest.get("past"))
        self.stopping = EarlyStopping(rest["best"], rest["since_best"])
        self.done = int(rest["step"])
        return latest

    def run(self, run: pathlib.Path) -> step.State:
        """Takes steps until the run is over, and returns the last state, on the host."""
        mapped = step.mapped(self.recipe)
        banks, self.state = step.replicate(self.opened.banks), step.replicate(self.state)
        meter, saved, reason = _Meter(self.log, self.limits), self.done, ""
        with interrupts.Interrupt() as interrupt:
            while self.done < self.limits.total and not reason:
                batch = meter.waiting(lambda: step.split_over_devices(next(self.opened.stream)))
                self.state, scores = mapped(self.state, batch, banks)
                self.done += 1
                self._check(scores, meter)
                meter.report(self.done, self.recipe.rate)
                score = self._validate(run) if self.done % self.limits.per_epoch == 0 else None
                reason = self._reason_to_stop(meter, interrupt)
                if reason and score is None and not interrupt.asked:  # Time is up within an epoch.
                    score = self._validate(run, at_once=True)
                due = self.done % self.limits.save_every == 0 or self.done == self.limits.total
                if due or score is not None or reason:
                    self._save(score)
                    saved = self.done
        self.kept.wait()
        self.log.say(f"stopped at step {self.done}: {reason or 'all steps done'}; checkpoint at {saved} in {run}")
        return step.on_host(self.state)

    def _check(self, scores: dict[str, jax.Array], meter: _Meter) -> None:
        """Waits for the step and raises errors.NotFinite at a NaN. Several steps in flight deadlock virtual devices."""
        local = {name: float(np.asarray(x.addressable_shards[0].data).ravel()[0]) for name, x in scores.items()}
        self.log.loss(self.done, local["loss"])
        if not math.isfinite(local["loss"]) or not math.isfinite(local["grad_norm"]):
            raise errors.NotFinite(
                f"step {self.done}: loss {local['loss']}, gradient norm {local['grad_norm']}. The last "
                f"checkpoint is from step {self.kept.latest}. Lower config.optimizer.learning_rate, or "
                "try --config.model.dtype=float32."
            )
        meter.add(local)

    def _validate(self, run: pathlib.Path, *, at_once: bool = False) -> float | None:
        """Runs the mini-search if this epoch is due or `at_once` is set. Returns its score, None if it did not run."""
        every, epoch = self.limits.validate_every_epochs, self.done // self.limits.per_epoch
        if self.search is None or not every or (epoch % every and not at_once):
            return None
        scores, similarity = self.search(_variables(step.on_host(self.state)))
        self.log.scalars(self.done, {f"validation/{k}": v for k, v in scores.items()})
        rates = "  ".join(f"{k[5:]}: {100 * v:.1f}" for k, v in scores.items() if k.startswith("top1_"))
        self.log.say(f"epoch {epoch}: top-1 % of the mini-search by segments  {rates}")
        if jax.process_index() == 0:
            path = run / "similarity" / f"{self.done:07d}.png"
            pictures.draw(similarity, path, title=f"step {self.done}")
            self.log.image(self.done, "validation/similarity", pictures.grey(similarity))
        self.stopping = self.stopping.after(scores["score"])
        return scores["score"]

    def _reason_to_stop(self, meter: _Meter, interrupt: interrupts.Interrupt) -> str:
        """Returns why the run ends before its last step, "" if it goes on."""
        patience, minutes = self.limits.patience, self.limits.minutes
        if interrupt.asked:
            return "interrupted"
        if patience and self.stopping.since_best >= patience:
            return f"no better validation in {patience}"
        if minutes and time.monotonic() - meter.started > 60 * minutes:
            return f"config.train.minutes={minutes:g} are over"
        return ""

    def _save(self, score: float | None) -> None:
        host = step.on_host(self.state)
        self.kept.save(
            self.done,
            variables=_variables(host),
            state=self._rest(host),
            stream=self.opened.stream,
            config=self.config,
            score=score,
        )

    def _rest(self, state: step.State) -> dict[str, Any]:
        past = {} if state.past is None else {"past": state.past}
        return dict(step=state.step, optimizer=state.optimizer, **past, **self.stopping._asdict())


def _variables(state: step.State) -> dict[str, Any]:
    return {"params": state.params, "batch_stats": state.batch_stats}


class _Meter:
    """Counts steps, time, and the time spent waiting for data, and reports them now and then."""

    def __init__(self, log: journal.RunLog, limits: _Limits):
        self._log, self._limits = log, limits
        self.started = self._since = time.monotonic()
        self._waited = 0.0
        self._scores: list[dict[str, float]] = []

    def waiting(self, read: Callable[[], pipeline.Batch]) -> pipeline.Batch:
        """Returns what `read` does, and counts its time as time in which the devices wait."""
        began = time.monotonic()
        batch = read()
        self._waited += time.monotonic() - began
        return batch

    def add(self, scores: dict[str, float]) -> None:
        self._scores.append(scores)

    def report(self, done: int, schedule: optax.Schedule) -> None:
        """Logs the means since the last report, if that is `log_every` steps and 5 seconds ago.

        The first step of a start, which compiles, and the last step of the run are always reported.
        """
        seconds, total = time.monotonic() - self._since, self._limits.total
        first = done == 1 or self.started == self._since
        if done != total and not first and (len(self._scores) < self._limits.log_every or seconds < 5):
            return
        mean = {k: float(np.mean([scores[k] for scores in self._scores])) for k in self._scores[0]}
        rate = len(self._scores) / seconds
        mean |= dict(
            learning_rate=float(schedule(done - 1)),
            steps_per_s=rate,
            segments_per_s=rate * self._limits.batch_size,
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
