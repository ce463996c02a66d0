"""Writes and reads the checkpoints of a run with orbax.

A run's folder holds checkpoints/<step>/{params,state,config}: parameters, optimiser state, configuration. The batches
follow from the step. Saves are asynchronous and atomic. The folder may lie in an object store: gs://bucket/run.
"""

from __future__ import annotations

import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

import nafp.config
from nafp import errors
from nafp.weights import run_folders, trained

METRIC = "score"  # The best checkpoint has the highest.
_UNSCORED = -math.inf  # The score of a checkpoint that was not validated.


class Checkpoints:
    """Saves and restores the checkpoints of one run.

    keep: the number of latest checkpoints that stay on disk, beside the best one. keep_every_steps: the checkpoint of
    every such number of steps stays as well, 0 for none.
    """

    def __init__(self, run: str | os.PathLike, *, keep: int, keep_every_steps: int = 0):
        policies = [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(get_metric_fn=lambda m: m[METRIC], n=1, keep_checkpoints_without_metrics=False),
        ]
        if keep_every_steps:
            policies.append(preservation_policy.EveryNSteps(keep_every_steps))
        self._manager = ocp.CheckpointManager(
            _folder(run),
            options=ocp.CheckpointManagerOptions(
                best_fn=lambda metrics: metrics[METRIC],
                preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
                cleanup_tmp_directories=True,  # What a killed save left behind.
            ),
        )

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint, None when there is none."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def save(
        self,
        step: int,
        *,
        variables: Any,
        state: Any,
        config: ml_collections.ConfigDict,
        score: float | None = None,
    ) -> None:
        """Starts to save a checkpoint. Returns once the arrays are copied, while they are still being written.

        variables, state: trees of numpy arrays, which the caller no longer changes. With several processes every one
        calls this, and the first one writes.
        """
        items = dict(
            params=ocp.args.StandardSave(variables),
            state=ocp.args.StandardSave(state),
            config=ocp.args.JsonSave(config.to_dict()),
        )
        metrics = {METRIC: _UNSCORED if score is None else float(score)}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)

    def restore(self, step: int, *, variables: Any, state: Any) -> tuple[Any, Any]:
        """Reads a checkpoint: (variables, state), in the shapes of those given."""
        items = dict(
            params=ocp.args.StandardRestore(_empty_like(variables)),
            state=ocp.args.StandardRestore(_empty_like(state)),
        )
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        return restored["params"], restored["state"]

    def go_back_to(self, step: int) -> None:
        """Moves the checkpoints after `step` to RUN/set_aside, so that the run continues from `step`."""
        steps = self.steps()
        if step not in steps:
            raise errors.Invalid(f"no checkpoint at step {step}; there are {steps}.")
        folder = run_folders.opened(self._manager.directory)
        aside = folder.parent / "set_aside"
        for later in [s for s in steps if s > step]:
            aside.mkdir(exist_ok=True)
            target = aside / f"{later}-{time.time_ns()}"
            (folder / str(later)).rename(target)
        self.look_again()

    def look_again(self) -> None:
        """Reads anew which checkpoints there are, after another process has moved some."""
        self._manager.reload()

    def wait(self) -> None:
        """Returns when every save that was started is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for saves, and then frees the threads and files of orbax."""
        self._manager.close()


def load(
    source: str,
    *,
    abstract_variables: Callable[[ml_collections.ConfigDict], Any],
    read_config: Callable[[Mapping[str, Any]], ml_collections.ConfigDict] = nafp.config.from_dict,
) -> trained.Trained:
    """Reads the network of RUN, RUN@STEP or RUN@best.

    abstract_variables: returns the shapes of a configuration's variables, as a tree. read_config: turns what was saved
    into a configuration. Raises nafp.errors.NotFound or nafp.errors.Invalid with the steps there are.
    """
    run, which = split(source)
    manager = ocp.CheckpointManager(
        _folder(run),
        options=ocp.CheckpointManagerOptions(read_only=True, best_fn=lambda m: m[METRIC]),
    )
    try:
        step = _choose(manager, run, which)
        text = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        config = read_config(text)
        shapes = _empty_like(abstract_variables(config))
        params = manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(shapes)))
    finally:
        manager.close()
    return trained.Trained(params["params"], config, step, f"{pathlib.Path(run).name}@{step}")


def split(source: str) -> tuple[str, str]:
    """Splits RUN, RUN@STEP, RUN@best or RUN@latest into the run and the choice, which is "latest" by default."""
    run, at, which = source.rpartition("@")
    if at and (which.isdecimal() or which in ("best", "latest")):
        return run, which
    return source, "latest"


def _choose(manager: ocp.CheckpointManager, run: str, which: str) -> int:
    steps = sorted(manager.all_steps())
    if not steps:
        raise errors.NotFound(f"{run}: no finished checkpoint. Train one: nafp train --workdir={run}")
    if which == "latest":
        return steps[-1]
    if which == "best":
        step = manager.best_step()
        if step is None or manager.metrics(step)[METRIC] == _UNSCORED:
            raise errors.Invalid(f"{run}: no checkpoint was validated yet; the steps there are: {steps}.")
        return step
    if int(which) not in steps:
        raise errors.Invalid(f"{run}: no checkpoint at step {which}; there are {steps}.")
    return int(which)


def _folder(run: str | os.PathLike) -> str:
    folder = run_folders.opened(run)
    if run_folders.is_remote(folder):
        return f"{folder}/checkpoints"
    if not folder.exists():
        raise errors.NotFound(f"{run}: no such run folder; --checkpoint takes RUN, RUN@STEP or RUN@best.")
    return str(folder.resolve() / "checkpoints")


def _empty_like(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
