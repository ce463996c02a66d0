"""Checkpoints on disk: parameters, optimiser state, input-stream state and configuration, written by orbax.

A run's folder holds checkpoints/<step>/{params,state,data,config}; saves are asynchronous and atomic.
"""

from __future__ import annotations

import math
import pathlib
import time
from typing import Any, NamedTuple

import grain.python as grain
import jax
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nafp import config as config_lib
from nafp import errors

METRIC = "score"  # What "best" means; higher is better.
_UNSCORED = -math.inf  # A checkpoint between validations.


class Loaded(NamedTuple):
    """A trained network without its training: `variables` as flax takes them, numpy float32."""

    variables: dict[str, Any]
    config: ml_collections.ConfigDict
    step: int
    source: str


class Checkpoints:
    """The checkpoints of one run: save, restore, keep the latest and the best."""

    def __init__(self, run: str | pathlib.Path, *, keep: int, keep_every_steps: int = 0):
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
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(
        self,
        step: int,
        *,
        variables: Any,
        state: Any,
        stream: Any,
        config: ml_collections.ConfigDict,
        score: float | None = None,
    ) -> None:
        """Starts a save; returns once the arrays are copied, while the writing goes on behind.

        variables, state: trees of numpy arrays, owned by the caller no longer. stream: the grain iterator.
        """
        items = dict(
            params=ocp.args.StandardSave(variables),
            state=ocp.args.StandardSave(state),
            data=grain.PyGrainCheckpointSave(stream),
            config=ocp.args.JsonSave(config.to_dict()),
        )
        metrics = {METRIC: _UNSCORED if score is None else float(score)}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics, force=True)

    def restore(self, step: int, *, variables: Any, state: Any, stream: Any) -> tuple[Any, Any]:
        """Returns (variables, state) shaped like those given, and winds the stream to where it was."""
        items = dict(
            params=ocp.args.StandardRestore(_empty_like(variables)),
            state=ocp.args.StandardRestore(_empty_like(state)),
            data=grain.PyGrainCheckpointRestore(stream),
        )
        restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        return restored["params"], restored["state"]

    def go_back_to(self, step: int) -> None:
        """Sets checkpoints after `step` aside, in RUN/set_aside, so that the run can go on from there."""
        there = self.steps()
        if step not in there:
            raise errors.Invalid(f"no checkpoint at step {step}; there are {there}.")
        folder = pathlib.Path(self._manager.directory)
        aside = folder.parent / "set_aside"
        for later in [s for s in there if s > step]:
            aside.mkdir(exist_ok=True)
            target = aside / f"{later}-{time.time_ns()}"
            (folder / str(later)).rename(target)
        self._manager.reload()

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()


def load(source: str, *, abstract_variables: Any) -> Loaded:
    """Reads the network of RUN, RUN@STEP or RUN@best.

    abstract_variables: function of a configuration -> the tree of shapes to restore into.
    Raises FileNotFoundError or ValueError that names the steps there are.
    """
    run, which = split(source)
    manager = ocp.CheckpointManager(
        _folder(run),
        options=ocp.CheckpointManagerOptions(read_only=True, best_fn=lambda m: m[METRIC]),
    )
    try:
        step = _choose(manager, run, which)
        text = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        config = config_lib.from_dict(text)
        shapes = _empty_like(abstract_variables(config))
        params = manager.restore(step, args=ocp.args.Composite(params=ocp.args.StandardRestore(shapes)))
    finally:
        manager.close()
    return Loaded(params["params"], config, step, f"{pathlib.Path(run).name}@{step}")


def split(source: str) -> tuple[str, str]:
    """Splits RUN[@STEP|@best|@latest] into the run and the choice, 'latest' when none is named."""
    run, at, which = source.rpartition("@")
    if at and (which.isdigit() or which in ("best", "latest")):
        return run, which
    return source, "latest"


def _choose(manager: ocp.CheckpointManager, run: str, which: str) -> int:
    there = sorted(manager.all_steps())
    if not there:
        raise errors.NotFound(f"{run}: no finished checkpoint. Train one: nafp train --workdir={run}")
    if which == "latest":
        return there[-1]
    if which == "best":
        step = manager.best_step()
        if step is None or manager.metrics(step)[METRIC] == _UNSCORED:
            raise errors.Invalid(f"{run}: no checkpoint was validated yet; the steps there are: {there}.")
        return step
    if int(which) not in there:
        raise errors.Invalid(f"{run}: no checkpoint at step {which}; there are {there}.")
    return int(which)


def _folder(run: str | pathlib.Path) -> str:
    text = str(run)
    if "://" in text:
        return text.rstrip("/") + "/checkpoints"
    folder = pathlib.Path(text).expanduser().resolve() / "checkpoints"
    if not folder.parent.exists():
        raise errors.NotFound(f"{run}: no such run folder; --checkpoint takes RUN, RUN@STEP or RUN@best.")
    return str(folder)


def _empty_like(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree)
