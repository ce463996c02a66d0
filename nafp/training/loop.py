"""The training loop: batches in, checkpoints out."""

from __future__ import annotations

import math
import pathlib
import signal
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nafp import config as config_lib
from nafp import errors
from nafp.models import network
from nafp.training import augment, data, journal, optimizers, step, validation
from nafp.weights import checkpoints, sources

_FIXED = (
    "audio",
    "spectrogram",
    "model",
    "seed",
    "data",
    "augment",
    "loss",
)  # May not change within a run.


class Progress(NamedTuple):
    """What early stopping remembers, saved with the state."""

    best: np.ndarray
    since_best: np.ndarray

    def after(self, score: float) -> Progress:
        if score > self.best:
            return Progress(np.float64(score), np.int64(0))
        return Progress(self.best, np.int64(self.since_best + 1))


def train(config: ml_collections.ConfigDict, workdir: str, *, resume_from: int | None = None) -> step.State:
    """Trains until the configuration says stop, resuming what is in `workdir`. Returns the last state, on the host.

    resume_from: a step to go back to; checkpoints after it are set aside. Raises ValueError for settings that cannot
    be, before anything is read; NotFinite when a loss is not a number.
    """
    config_lib.validated(config)
    _check_devices(config)
    run = pathlib.Path(workdir).expanduser()
    _check_unchanged(run, config)
    beginning = _beginning(config)
    cut = augment.settings(audio=config.audio, augment=config.augment)
    opened = data.open_data(config, cut)
    per_epoch = config.train.steps_per_epoch or max(1, len(opened.windows.start) // (config.train.batch_size // 2))
    total = config.train.steps or config.train.epochs * per_epoch
    recipe = step.recipe_of(config, cut, total_steps=total)
    log = journal.Journal(run, config)
    for note in opened.notes:
        log.say(note)
    kept = checkpoints.Checkpoints(
        run, keep=config.checkpoint.keep, keep_every_steps=config.checkpoint.keep_every_steps
    )
    try:
        session = _Session(config, recipe, opened, kept, log, per_epoch=per_epoch, total=total)
        session.resume(run, resume_from, beginning)
        return session.run(run)
    finally:
        kept.close()
        log.close()


class _Session:
    """One start of a run: the state on the devices, and when to log, validate, save and stop."""

    def __init__(self, config, recipe, opened, kept, log, *, per_epoch: int, total: int):
        self.config, self.recipe, self.opened, self.kept, self.log = (
            config,
            recipe,
            opened,
            kept,
            log,
        )
        self.per_epoch, self.total = per_epoch, total
        n_mels, n_frames = network.mel_shape(config)
        self.state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
        self.progress = Progress(np.float64(-np.inf), np.int64(0))
        self.done = 0
        self.schedule = optimizers.schedule(config.optimizer, total_steps=total, batch_size=config.train.batch_size)
        self.search = None
        if opened.held is not None:
            self.search = validation.MiniSearch(
                recipe, opened.held_banks, opened.held, lengths=tuple(config.validate.lengths)
            )

    def resume(self, run: pathlib.Path, resume_from: int | None, beginning: Any) -> None:
        latest = self.kept.latest if resume_from is None else resume_from
        if resume_from is not None:
            self.kept.go_back_to(resume_from)
        if latest is None:
            count = sum(x.size for x in jax.tree.leaves(self.state.params))
            begun = ""
            if beginning is not None:
                self.state = self.state._replace(**beginning)
                begun = f" of {self.config.train.begin_from}"
            self.log.say(f"starts anew in {run}: {count:,} parameters{begun}, {self.total} steps of {self._batch()}")
            return
        variables, rest = self.kept.restore(
            latest,
            variables=_variables(self.state),
            state=self._rest(self.state),
            stream=self.opened.stream,
        )
        self.state = step.State(
            rest["step"],
            variables["params"],
            variables["batch_stats"],
            rest["optimizer"],
            rest.get("past"),
        )
        self.progress = Progress(rest["best"], rest["since_best"])
        self.done = int(rest["step"])
        self.log.say(f"resumes {run} at step {self.done} of {self.total}")

    def _batch(self) -> str:
        n = self.config.train.batch_size
        return f"{n} segments on {jax.device_count()} {jax.devices()[0].platform} device(s)"

    def run(self, run: pathlib.Path) -> step.State:
        mapped = step.mapped(self.recipe)
        banks, self.state = step.replicate(self.opened.banks), step.replicate(self.state)
        meter, saved, reason = _Meter(self.log, self.config), self.done, "all steps done"
        with _Interrupt() as interrupt:
            while self.done < self.total:
                batch = meter.waiting(lambda: step.split_over_devices(next(self.opened.stream)))
                self.state, scores = mapped(self.state, batch, banks)
                self.done += 1
                self._check(scores, meter)
                meter.every(self.done, self.total, self.schedule)
                score = self._validate(run) if self.done % self.per_epoch == 0 else None
                due = self.done % self.config.checkpoint.every_steps == 0
                reason = self._reason_to_stop(meter, interrupt)
                if due or score is not None or reason or self.done == self.total:
                    self._save(score)
                    saved = self.done
                if reason:
                    break
        self.kept.wait()
        self.log.say(f"stopped at step {self.done}: {reason or 'all steps done'}; checkpoint at {saved} in {run}")
        return step.on_host(self.state)

    def _check(self, scores: dict[str, Any], meter: _Meter) -> None:
        """Waits for the step (several steps in flight deadlock virtual CPU devices) and stops at a NaN."""
        local = {name: float(np.asarray(x.addressable_shards[0].data).ravel()[0]) for name, x in scores.items()}
        self.log.loss(self.done, local["loss"])
        if not math.isfinite(local["loss"]) or not math.isfinite(local["grad_norm"]):
            raise errors.NotFinite(
                f"step {self.done}: loss {local['loss']}, gradient norm {local['grad_norm']}. The last "
                f"checkpoint is from step {self.kept.latest}. Lower config.optimizer.learning_rate, or "
                "try --config.model.dtype=float32."
            )
        meter.add(local)

    def _validate(self, run: pathlib.Path) -> float | None:
        every = self.config.validate.every_epochs
        epoch = self.done // self.per_epoch
        if self.search is None or not every or epoch % every:
            return None
        scores, similarity = self.search(_variables(step.on_host(self.state)))
        self.log.scalars(self.done, {f"validation/{k}": v for k, v in scores.items()})
        shown = "  ".join(f"{k[5:]}: {100 * v:.1f}" for k, v in scores.items() if k.startswith("top1_"))
        self.log.say(f"epoch {epoch}: top-1 % of the mini-search by segments  {shown}")
        if jax.process_index() == 0:
            path = run / "similarity" / f"{self.done:07d}.png"
            validation.picture(similarity, path, title=f"step {self.done}")
        self.progress = self.progress.after(scores["score"])
        return scores["score"]

    def _reason_to_stop(self, meter: _Meter, interrupt: _Interrupt) -> str:
        patience, minutes = self.config.validate.patience, self.config.train.minutes
        if interrupt.asked:
            return "interrupted"
        if patience and self.progress.since_best >= patience:
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
        return dict(step=state.step, optimizer=state.optimizer, **past, **self.progress._asdict())


def _variables(state: step.State) -> dict[str, Any]:
    return {"params": state.params, "batch_stats": state.batch_stats}


class _Meter:
    """Counts steps, waiting and time, and says so now and then."""

    def __init__(self, log: journal.Journal, config: ml_collections.ConfigDict):
        self._log, self._config = log, config
        self.started = self._since = time.monotonic()
        self._waited, self._scores = 0.0, []

    def waiting(self, work):
        """Runs `work`, whose time is time the devices wait for data."""
        began = time.monotonic()
        result = work()
        self._waited += time.monotonic() - began
        return result

    def add(self, scores: dict[str, float]) -> None:
        self._scores.append(scores)

    def every(self, done: int, total: int, schedule) -> None:
        seconds = time.monotonic() - self._since
        first = done == 1 or self.started == self._since
        if done != total and not first and (len(self._scores) < self._config.train.log_every or seconds < 5):
            return
        n = len(self._scores)
        mean = {k: float(np.mean([s[k] for s in self._scores])) for k in self._scores[0]}
        rate = n / seconds
        mean |= dict(
            learning_rate=float(schedule(done - 1)),
            steps_per_s=rate,
            segments_per_s=rate * self._config.train.batch_size,
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


class _Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a question the loop asks; a second Ctrl-C stops at once."""

    def __enter__(self) -> _Interrupt:
        self.asked = False
        self._before = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self._before[name] = signal.signal(name, self._ask)
        except ValueError:
            pass  # Not the main thread: signals stay with whoever has them.
        return self

    def _ask(self, number, frame) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)


def _check_devices(config: ml_collections.ConfigDict) -> None:
    pairs, devices = config.train.batch_size // 2, jax.device_count()
    if pairs % devices:
        raise errors.Invalid(
            f"config.train.batch_size={config.train.batch_size} is {pairs} pairs, which do not divide among "
            f"{devices} devices; use a multiple of {2 * devices}."
        )
    micro, segments = config.train.micro_batch, 2 * pairs // devices
    if micro and segments % micro:
        raise errors.Invalid(
            f"config.train.micro_batch={micro} does not divide the {segments} segments "
            f"that each of {devices} devices has."
        )
    if config.train.minutes and jax.process_count() > 1:
        raise errors.Invalid("config.train.minutes needs one clock: with several processes use config.train.steps.")


def _beginning(config: ml_collections.ConfigDict) -> dict[str, Any] | None:
    """Reads the parameters that a new run begins with; raises ValueError when they fit another network."""
    source = config.train.begin_from
    if not source:
        return None
    variables, theirs, _, name = sources.read(source)
    before, now = theirs.model.to_dict(), config.model.to_dict()
    other = [key for key in now if key not in ("form", "dtype") and before[key] != now[key]]
    if other:
        raise errors.Invalid(
            f"config.train.begin_from={source!r}: {name} has "
            f"{', '.join(f'model.{key}={before[key]}, not {now[key]}' for key in other)}. "
            "Give this run the same config.model, or begin from nothing."
        )
    real = jax.tree.map(jnp.asarray, variables)
    return {"params": real["params"], "batch_stats": real.get("batch_stats", {})}


def _check_unchanged(run: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Refuses to resume a run under settings that would make it another experiment."""
    path = run / "config.json"
    if not path.exists() or not (run / "checkpoints").exists():
        return
    before, now = config_lib.from_json(path.read_text()).to_dict(), config.to_dict()
    changed = list(_differences(_fixed(before), _fixed(now)))
    if changed:
        raise errors.Invalid(
            f"{run} was begun with other settings: {'; '.join(changed)}. Use another --workdir, or the old settings."
        )


def _fixed(settings: dict) -> dict:
    """Returns what may not change within a run: the learning rate may, what makes its steps may not."""
    rule = {key: settings["optimizer"][key] for key in ("name", "lamb_scales")}
    return {section: settings[section] for section in _FIXED} | {"optimizer": rule}


def _differences(before: dict, now: dict, prefix: str = ""):
    for key in before:
        if isinstance(before[key], dict):
            yield from _differences(before[key], now[key], f"{prefix}{key}.")
        elif before[key] != now[key]:
            yield f"{prefix}{key} was {before[key]}, now {now[key]}"
