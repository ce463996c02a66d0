"""Turns segments of audio into fingerprints, given trained parameters: in JAX, and in numpy alone.

Architectures are created by name. Importing this package does not import JAX; creating an architecture does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nafp.jobs import choices

if TYPE_CHECKING:
    import flax.linen as nn

# Name -> (module, class). A further architecture is one file here, one line here, and its name in
# nafp.config.network.ARCHITECTURES. For numpy it is one file and one line in numpy_network more.
_ARCHITECTURES = {
    "nafp": ("nafp.models.fingerprinter", "Fingerprinter"),
    "audsearch": ("nafp.models.attention_residual", "AttentionResidual"),
}


def names() -> list[str]:
    """Lists the architectures that `create` knows."""
    return sorted(_ARCHITECTURES)


def create(name: str = "nafp", **settings: Any) -> nn.Module:
    """Builds an architecture as a Flax Linen module, whose fields are the settings: the keywords of `config.model`.

    `module.init(key, mel)` returns its variables, and `module.apply(variables, mel, train=False)` the fingerprints
    [B,D] of spectrograms [B,F,T], float32 of unit length. Raises nafp.errors.Invalid for an unknown name.
    """
    choices.require("model", name, names())
    module, class_name = _ARCHITECTURES[name]
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    return getattr(importlib.import_module(module), class_name)(**frozen)
