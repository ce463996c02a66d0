"""Architectures by name. Importing this costs no JAX; creating a network does."""

from __future__ import annotations

import difflib
import importlib

from nafp import errors

# Name -> (module, class). A further architecture is one file here and one line.
_ARCHITECTURES = {"nafp": ("nafp.models.fingerprinter", "Fingerprinter")}


def names() -> list[str]:
    """Lists the architectures that `create` knows."""
    return sorted(_ARCHITECTURES)


def create(name: str = "nafp", **settings: object):
    """Builds a Flax Linen module from its settings, the keywords of `config.model`.

    `module.init(key, mel)` gives the variables, `module.apply(variables, mel [B,F,T], train=False)`
    fingerprints [B,D], float32 of unit length. Raises ValueError for a name that is not registered.
    """
    if name not in _ARCHITECTURES:
        close = difflib.get_close_matches(name, names(), n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise errors.Invalid(f"model {name!r} is unknown; known: {', '.join(names())}.{meant}")
    module, class_name = _ARCHITECTURES[name]
    frozen = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    return getattr(importlib.import_module(module), class_name)(**frozen)
