"""Checkpoints of a training run, new ones and those of earlier versions."""

import grain.python as grain
import numpy as np
import orbax.checkpoint as ocp

from nafp import config as config_lib
from nafp.weights import checkpoints

VARIABLES = {"params": {"a": np.arange(3, dtype=np.float32)}, "batch_stats": {}}
EMPTY = {"params": {"a": np.zeros(3, np.float32)}, "batch_stats": {}}


def test_a_checkpoint_that_holds_the_state_of_the_input_is_read(tmp_path):
    """Earlier versions wrote that state. Today the input follows from the step."""
    stream = iter(grain.MapDataset.range(10).to_iter_dataset())
    manager = ocp.CheckpointManager(tmp_path / "checkpoints")
    items = dict(
        params=ocp.args.StandardSave(VARIABLES),
        state=ocp.args.StandardSave({"step": np.int32(4)}),
        config=ocp.args.JsonSave(config_lib.default().to_dict()),
        data=grain.PyGrainCheckpointSave(stream),
    )
    manager.save(4, args=ocp.args.Composite(**items), metrics={checkpoints.METRIC: 0.5}, force=True)
    manager.close()
    kept = checkpoints.Checkpoints(tmp_path, keep=2)
    variables, state = kept.restore(4, variables=EMPTY, state={"step": np.int32(0)})
    np.testing.assert_array_equal(variables["params"]["a"], VARIABLES["params"]["a"])
    assert int(state["step"]) == 4
    kept.save(5, variables=VARIABLES, state={"step": np.int32(5)}, config=config_lib.default())
    kept.wait()
    assert kept.steps() == [4, 5]
    kept.close()
