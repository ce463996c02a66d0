"""The training loop: batches in, checkpoints out."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

import nafp.config
from nafp import errors
from nafp.fingerprints import hosts
from nafp.jobs import interrupts
from nafp.models import network
from nafp.training import (
    agreement,
    augment,
    beginning,
    data,
    in_flight,
    journal,
    meter,
    pictures,
    pipeline,
    step,
    validation,
)
from nafp.weights import checkpoints, run_folders

_TERMINATED = "terminated"  # Why a run ends: a scheduler takes the machine away.


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

    resume_from: a step to go back to; later checkpoints are set aside. With several processes every one calls this.
    Raises errors.Invalid for impossible settings before anything is read, and errors.NotFinite if a loss is not a
    number. Raises errors.StartAgain, with a checkpoint saved, if a SIGTERM ends the run, and also if another process
    is gone.
    """
    nafp.config.validated(config)
    beginning.check_devices(config)
    steps_in_flight = in_flight.most(config.train.steps_in_flight)
    run = run_folders.opened(workdir)
    interrupt, is_alone = interrupts.Interrupt(patient=True), jax.process_count() == 1
    with contextlib.ExitStack() as stack, hosts.ended_together():
        if not is_alone:  # The others wait for this one, so it may not end before the first step.
            stack.enter_context(interrupt)
        session, parameters = _opened(config, run, stack, steps_in_flight)
        session.start(run, resume_from, parameters)
        if is_alone:
            stack.enter_context(interrupt)
        return session.run(run, interrupt)


def _opened(
    config: ml_collections.ConfigDict, run: run_folders.Folder, stack: contextlib.ExitStack, steps_in_flight: int
) -> tuple[_Session, dict[str, Any] | None]:
    """Opens the data, the log and the checkpoints of a run, which the stack closes.

    Returns the session, and the parameters that a new run begins with, None if these are random.
    """
    with hosts.together("begin"):  # Before the first process writes what the others read here.
        beginning.check_unchanged(run, config)
        parameters = beginning.parameters(config.train.begin_from, config.model)
        settings = augment.settings(audio=config.audio, augment=config.augment)
        opened = data.open_data(config, settings)
    limits = _limits(config, opened.epoch)
    recipe = step.recipe_of(config, settings, total_steps=limits.total, epoch_steps=limits.per_epoch)
    with hosts.together("log"):  # The others need the folder that the first process makes.
        log = journal.RunLog(run, config)
    stack.callback(log.close)
    for note in opened.notes:
        log.say(note)
    kept = checkpoints.Checkpoints(
        run, keep=config.checkpoint.keep, keep_every_steps=config.checkpoint.keep_every_steps
    )
    # Closing waits for saves, and these for the other processes.
    stack.push(lambda kind, error, trace: kept.close() if hosts.is_agreed(error) else None)
    facts = {**beginning.facts(config), **data.facts(opened), "the latest checkpoint": kept.latest}
    hosts.require_same(f"what {run} trains on", facts)
    return _Session(config, recipe, opened, kept, log, limits, steps_in_flight), parameters


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
        steps_in_flight: int,
    ):
        self.config, self.recipe, self.opened = config, recipe, opened
        self.kept, self.log, self.limits = kept, log, limits
        self.flying = in_flight.InFlight(steps_in_flight)
        n_mels, n_frames = network.mel_shape(config)
        self.state = step.initial(recipe, n_mels=n_mels, n_frames=n_frames)
        self.stopping = EarlyStopping(np.array(-np.inf), np.array(0, np.int64))
        self.done = 0
        self.search: validation.MiniSearch | None = None
        if opened.examples is not None:
            self.search = validation.MiniSearch(
                recipe, opened.validation_banks, opened.examples, lengths=tuple(config.validate.lengths)
            )

    def start(self, run: run_folders.Folder, resume_from: int | None, parameters: dict[str, Any] | None) -> None:
        """Resumes a run, from the step `resume_from` if given, or begins a new one if there is no checkpoint."""
        if self.resume(resume_from) is None:
            self.begin(run, parameters, source=self.config.train.begin_from)
        else:
            self.log.say(f"resumes {run} at step {self.done} of {self.limits.total}")
        pipeline.go_to(self.opened.stream, self.done)

    def begin(self, run: run_folders.Folder, parameters: dict[str, Any] | None, *, source: str) -> None:
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
            with hosts.together("go back"):
                if jax.process_index() == 0:
                    self.kept.go_back_to(resume_from)
            self.kept.look_again()
        latest = self.kept.latest if resume_from is None else resume_from
        if latest is None:
            return None
        variables, rest = self.kept.restore(latest, variables=_variables(self.state), state=self._rest(self.state))
        params, batch_stats = variables["params"], variables["batch_stats"]
        self.state = step.State(rest["step"], params, batch_stats, rest["optimizer"], rest.get("past"))
        self.stopping = EarlyStopping(rest["best"], rest["since_best"])
        self.done = int(rest["step"])
        return latest

    def run(self, run: run_folders.Folder, interrupt: interrupts.Interrupt) -> step.State:
        """Takes steps until the run is over, and returns the last state, on the host."""
        mapped, limits = agreement.mapped(self.recipe), self.limits
        banks, self.state = step.replicate(self.opened.banks), step.replicate(self.state)
        speed = meter.Meter(self.log, total=limits.total, every=limits.log_every, batch_size=limits.batch_size)
        saved, reason = self.done, ""
        while self.done < limits.total and not reason:
            batch = speed.waiting(lambda: step.split_over_devices(next(self.opened.stream)))
            votes = agreement.Votes(interrupt.terminated, interrupt.asked, speed.is_late(limits.minutes))
            self.state, scores = mapped(self.state, batch, banks, agreement.ballots(votes))
            self.done += 1
            self.flying.add(self.done, scores)
            is_epoch, is_last = self.done % limits.per_epoch == 0, self.done == limits.total
            due = self.done % limits.save_every == 0 or is_last
            agreed = self._land(speed, all_of_them=is_epoch or due)
            score = self._validate(run) if is_epoch else None
            reason = self._reason_to_stop(agreed)
            if reason:
                self._land(speed, all_of_them=True)
            if reason and score is None and not agreed.interrupted:  # Time is up within an epoch.
                score = self._validate(run, at_once=True)
            if due or score is not None or reason:
                self._save(score)
                saved = self.done
        self.kept.wait()
        self.log.say(f"stopped at step {self.done}: {reason or 'all steps done'}; checkpoint at {saved} in {run}")
        if reason == _TERMINATED and self.done < limits.total:
            told = errors.StartAgain(f"{run}: {reason} at step {self.done}; the same command goes on from there")
            raise hosts.agreed(told)
        return step.on_host(self.state)

    def _land(self, speed: meter.Meter, *, all_of_them: bool) -> agreement.Votes:
        """Waits for the oldest steps under way, or for all, and logs them. Returns what the hosts say in any of them.

        Raises errors.NotFinite at a step that gave no number.
        """
        votes = agreement.Votes()
        for landed in self.flying.landed(all_of_them=all_of_them):
            self.log.loss(landed.number, landed.scores["loss"])
            if not landed.finite:
                loss, norm = landed.scores["loss"], landed.scores["grad_norm"]
                wrong = errors.NotFinite(
                    f"step {landed.number}: loss {loss}, gradient norm {norm}. The last checkpoint is from step "
                    f"{self.kept.latest}. Lower config.optimizer.learning_rate, or try --config.model.dtype=float32."
                )
                raise hosts.agreed(wrong)
            speed.add(landed.number, landed.scores, self.recipe.rate)
            votes = agreement.Votes(*(one or other for one, other in zip(votes, landed.votes)))
        return votes

    def _validate(self, run: run_folders.Folder, *, at_once: bool = False) -> float | None:
        """Runs the mini-search if this epoch is due or `at_once` is set. Returns its score, None if it did not run.

        The first process searches, and tells the others what it found.
        """
        every, epoch = self.limits.validate_every_epochs, self.done // self.limits.per_epoch
        if self.search is None or not every or (epoch % every and not at_once):
            return None
        scores = hosts.from_first(lambda: self._search(run))
        self.log.scalars(self.done, {f"validation/{k}": v for k, v in scores.items()})
        rates = "  ".join(f"{k[5:]}: {100 * v:.1f}" for k, v in scores.items() if k.startswith("top1_"))
        self.log.say(f"epoch {epoch}: top-1 % of the mini-search by segments  {rates}")
        self.stopping = self.stopping.after(scores["score"])
        return scores["score"]

    def _search(self, run: run_folders.Folder) -> dict[str, float]:
        """Runs the mini-search and draws its similarities. Returns its scores."""
        assert self.search is not None
        scores, similarity = self.search(_variables(step.on_host(self.state)))
        path = run / "similarity" / f"{self.done:07d}.png"
        pictures.draw(similarity, path, title=f"step {self.done}")
        self.log.image(self.done, "validation/similarity", pictures.grey(similarity))
        return scores

    def _reason_to_stop(self, agreed: agreement.Votes) -> str:
        """Returns why the run ends before its last step, "" if it goes on. The same on every host."""
        patience, minutes = self.limits.patience, self.limits.minutes
        if agreed.interrupted:
            return _TERMINATED if agreed.terminated else "interrupted"
        if patience and self.stopping.since_best >= patience:
            return f"no better validation in {patience}"
        return f"config.train.minutes={minutes:g} are over" if agreed.late else ""

    def _save(self, score: float | None) -> None:
        host = step.on_host(self.state)
        self.kept.save(
            self.done,
            variables=_variables(host),
            state=self._rest(host),
            config=self.config,
            score=score,
        )
        self.log.keep()

    def _rest(self, state: step.State) -> dict[str, Any]:
        past = {} if state.past is None else {"past": state.past}
        return dict(step=state.step, optimizer=state.optimizer, **past, **self.stopping._asdict())


def _variables(state: step.State) -> dict[str, Any]:
    return {"params": state.params, "batch_stats": state.batch_stats}
