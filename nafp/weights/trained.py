"""A trained network as it was read from a run or a file, before any runtime opens it."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_collections


class Trained(NamedTuple):
    """Parameters without their training.

    variables: "params" and "batch_stats", each nested by layer, as flax takes them, in float32. source: the name of the
    file, or RUN@STEP.
    """

    variables: dict[str, Any]
    config: ml_collections.ConfigDict
    step: int
    source: str
