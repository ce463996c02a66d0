"""The training loop of the second stage: clips in, checkpoints out. The same folder again resumes the run."""

from __future__ import annotations

import json
import math
import pathlib
import time
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from nafp import errors
from nafp.jobs import interrupts
from nafp.models import identities
from nafp.sequences import batches, chunks, clips, embedder, losses, networks, optimizer, settings, step, validation
from nafp.training import beginning, journal
from nafp.weights import checkpoints, run_folders

# Sections of the configuration that may not change within a run.
_FIXED = ("seed", "data", "chunk", "model", "loss")


class _Opened(NamedTuple):
    """What a run reads.

    source: the batches. search: the search after some epochs, None if no clips are kept back. total: the steps of the
    whole run.
    """

    config: ml_collections.ConfigDict
    source: batches.Batches
    search: validation.Validation | None
    total: int


def train(config: ml_collections.ConfigDict, workdir: str, *, resume_from: int | None = None) -> step.State:
    """Trains until the configuration says stop, resuming the run in `workdir` if any. Returns the last state.

    resume_from: a step to go back to; later checkpoints are set aside. Raises nafp.errors.Invalid for impossible
    settings or clips before anything is written, nafp.errors.NotFinite if a loss is not a number, and
    nafp.errors.StartAgain, with a checkpoint saved, if a SIGTERM ends the run.
    """
    opened = _open(settings.validated(config))
    run = run_folders.opened(workdir)
    _check_unchanged(run, opened.config)
    log = journal.RunLog(run, opened.config)
    kept = checkpoints.Checkpoints(run, keep=config.checkpoint.keep)
    try:
        session = _Session(opened, kept, log)
        if resume_from is not None:
            kept.go_back_to(resume_from)
        latest = kept.latest if resume_from is None else resume_from
        session.begin(run) if latest is None else session.resume(run, latest)
        return session.run(run)
    finally:
        kept.close()
        log.close()


def _open(config: ml_collections.ConfigDict) -> _Opened:
    """Lists the clips, and keeps the last ones back to validate on."""
    folder, n_kept = config.data.clips, 0
    if not folder:
        raise errors.Invalid("--config.data.clips=FOLDER is needed; nafp amg clips makes one")
    source = clips.listed(folder, most=config.data.classes, versions=config.data.versions)
    config = _with_first_stage(config)
    rows = clips.read(source[0].clean, dim=config.model.fingerprint_dim)
    search = None
    if config.data.val_share and config.validate.every_epochs and len(source) > 3:
        n_kept = max(1, round(config.data.val_share * len(source)))
        if len(rows) >= chunks.rows_of(config.chunk.seconds):
            search = validation.Validation(source[-n_kept:], embedder.Embedder({}, config), seed=config.seed)
    rules = batches.Rules(
        loss=config.loss.name,
        most=chunks.padded_rows(config.chunk.seconds),
        batch_size=config.train.batch_size,
        seed=config.seed,
        low=config.chunk.margin_low,
        high=config.chunk.margin_high,
    )
    drawn = batches.Batches(source[: len(source) - n_kept], rules, dim=config.model.fingerprint_dim)
    total = config.train.steps or config.train.epochs * drawn.per_epoch
    return _Opened(config, drawn, search, total)


def _with_first_stage(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Notes which network made the fingerprints. Raises errors.Invalid if the setting names another one."""
    digest = identities.digest(clips.about_of(config.data.clips).get("model")) or ""
    if config.data.first_stage and digest and config.data.first_stage != digest:
        raise errors.Invalid(
            f"config.data.first_stage={config.data.first_stage}: the clips of {config.data.clips} are fingerprints of "
            f"another network, {digest}."
        )
    noted = settings.from_dict(config.to_dict())
    noted.data.first_stage = config.data.first_stage or str(digest)
    return noted


def _check_unchanged(run: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    path = run / "config.json"
    if path.exists() and (run / "checkpoints").exists():
        before = settings.from_dict(json.loads(path.read_text())).to_dict()
        sides = [
            {**{name: part[name] for name in _FIXED}, "train": {"batch_size": part["train"]["batch_size"]}}
            for part in (before, config.to_dict())
        ]
        beginning.refuse_changes(run, *sides)


class _Session:
    """One start of a run: the state on the device, and when to log, validate, save and stop."""

    def __init__(self, opened: _Opened, kept: checkpoints.Checkpoints, log: journal.RunLog):
        self.config, self.source, self.search, self.total = opened
        self.kept, self.log = kept, log
        config, rates = self.config, self.config.optimizer
        self.rate = optimizer.cosine(rates.learning_rate, rates.last_learning_rate, total_steps=self.total)
        adam = optimizer.create(self.rate, weight_decay=rates.weight_decay, b1=rates.b1, b2=rates.b2, eps=rates.eps)
        terms = {name: value for name, value in config.loss.items() if name != "name"}
        network = networks.create(**config.model)
        self.recipe = step.Recipe(network, adam, config.loss.name, terms, config.seed)
        has_classes = config.loss.name in losses.WITH_CLASSES
        centres = self.source.centres() if has_classes else np.zeros((1, config.model.dim), np.float32)
        n_rows = chunks.padded_rows(config.chunk.seconds)
        self.state = step.initial(self.recipe, n_rows=n_rows, dim=self.source.dim, centres=jnp.asarray(centres))
        self.done = 0

    def begin(self, run: pathlib.Path) -> None:
        n = networks.n_parameters({"params": self.state.params})
        self.log.say(
            f"starts anew in {run}: {self.config.model.name}, {n:,} parameters; {self.total} steps of {self.source.n} "
            f"examples, {self.source.per_epoch} an epoch"
        )

    def resume(self, run: pathlib.Path, latest: int) -> None:
        variables, rest = self.kept.restore(latest, variables=self._variables(), state=self._rest())
        self.state = step.State(
            rest["step"], variables["params"], variables["batch_stats"], rest["centres"], rest["optimizer"]
        )
        self.done = int(rest["step"])
        self.log.say(f"resumes {run} at step {self.done} of {self.total}")

    def run(self, run: pathlib.Path) -> step.State:
        """Takes steps until the run is over, and returns the last state. The next batch is read meanwhile."""
        take = jax.jit(lambda state, batch: step.take(self.recipe, state, batch), donate_argnums=0)
        meter, saved, reason = _Meter(self.log, self.config.train.log_every), self.done, ""
        with interrupts.Interrupt() as interrupt, futures.ThreadPoolExecutor(1) as reader:
            batch = reader.submit(self.source.__getitem__, self.done)
            while self.done < self.total and not reason:
                ready, batch = batch.result(), reader.submit(self.source.__getitem__, self.done + 1)
                self.state, scores = take(self.state, ready)
                self.done += 1
                self._check(scores, meter)
                reason = self._reason_to_stop(meter, interrupt)
                score = self._validate(at_once=bool(reason) or self.done == self.total) if not interrupt.asked else None
                due = self.done % self.config.checkpoint.every_steps == 0 or self.done == self.total
                if due or score is not None or reason:
                    self._save(score)
                    saved = self.done
        self.kept.wait()
        self.log.say(f"stopped at step {self.done}: {reason or 'all steps done'}; checkpoint at {saved} in {run}")
        if interrupt.terminated and self.done < self.total:
            raise errors.StartAgain(f"{run}: terminated at step {self.done}; the same command goes on from there")
        return self.state

    def _check(self, scores: dict[str, jax.Array], meter: _Meter) -> None:
        """Waits for the step, logs it, and raises errors.NotFinite at a NaN."""
        loss, norm = (float(scores[name]) for name in ("loss", "grad_norm"))
        self.log.loss(self.done, loss)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise errors.NotFinite(
                f"step {self.done}: loss {loss}, gradient norm {norm}. The last checkpoint is from step "
                f"{self.kept.latest}. Lower config.optimizer.learning_rate."
            )
        meter.add(loss, self.done, self.total, rate=float(self.rate(self.done - 1)))

    def _validate(self, *, at_once: bool) -> float | None:
        """Searches the clips that were kept back, if this epoch is due or `at_once` is set. Returns the score."""
        every = self.config.validate.every_epochs * self.source.per_epoch
        if self.search is None or not every or (self.done % every and not at_once):
            return None
        rates = self.search(self._variables())
        self.log.scalars(self.done, {f"validation/{name}": rate for name, rate in rates.items()})
        shown = "  ".join(f"{name} {100 * rate:.1f} %" for name, rate in rates.items())
        self.log.say(f"step {self.done}: found among the clips kept back  {shown}")
        return rates["top1"]

    def _reason_to_stop(self, meter: _Meter, interrupt: interrupts.Interrupt) -> str:
        minutes = self.config.train.minutes
        if interrupt.asked:
            return "interrupted"
        if minutes and time.monotonic() - meter.started > 60 * minutes:
            return f"config.train.minutes={minutes:g} are over"
        return ""

    def _save(self, score: float | None) -> None:
        variables, rest = (jax.tree.map(np.array, tree) for tree in (self._variables(), self._rest()))
        self.kept.save(self.done, variables=variables, state=rest, config=self.config, score=score)
        self.log.keep()

    def _variables(self) -> dict[str, Any]:
        return {"params": self.state.params, "batch_stats": self.state.batch_stats}

    def _rest(self) -> dict[str, Any]:
        return {"step": self.state.step, "centres": self.state.centres, "optimizer": self.state.optimizer}


class _Meter:
    """Reports the mean loss and the speed now and then. started: when, on the monotonic clock."""

    def __init__(self, log: journal.RunLog, every: int):
        self._log, self._every = log, every
        self.started = self._since = time.monotonic()
        self._losses: list[float] = []

    def add(self, loss: float, done: int, total: int, *, rate: float) -> None:
        """Notes a loss. Reports after `every` steps and 5 seconds, after the first step, and after the last one."""
        self._losses.append(loss)
        seconds, first = time.monotonic() - self._since, self.started == self._since
        if done != total and not first and (len(self._losses) < self._every or seconds < 5):
            return
        mean, speed = float(np.mean(self._losses)), len(self._losses) / seconds
        self._log.scalars(done, {"train/loss": mean, "train/learning_rate": rate, "train/steps_per_s": speed})
        left = (total - done) / speed / 60
        self._log.say(f"step {done}/{total}  loss {mean:.3f}  {speed:.2f} steps/s  left {left:.0f} min")
        self._since, self._losses = time.monotonic(), []
