"""The mean of the parameters of networks that one began from another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nafp import errors
from nafp.models import identities
from nafp.weights import trained

# Of the length of all kernels. The mean that ships lies 0.03 from either of its networks: a run of 1,800 steps ended
# 0.06 from where it began. Networks that began from different random parameters are about 1.4 apart.
FARTHEST = 0.5


def mean(networks: Sequence[trained.Trained]) -> trained.Trained:
    """Returns a network with the mean of the parameters of several, and the configuration of the first.

    A run that began with the parameters of another (`config.train.begin_from`) stays near to it, and their mean keeps
    most of what either knows. Raises errors.Invalid for networks of other settings, and for networks that are too far
    apart: those that were not trained from one another lose everything in their mean.
    """
    first = networks[0]
    for other in networks[1:]:
        _require_akin(first, other)
    named = [identities.named(network.variables) for network in networks]
    means = {name: np.mean(np.stack([arrays[name] for arrays in named]), axis=0) for name in named[0]}
    names = ", ".join(network.source for network in networks)
    return first._replace(variables=identities.nested(means), source=f"mean of {names}")


def _require_akin(first: trained.Trained, other: trained.Trained) -> None:
    names = f"{first.source} and {other.source}"
    if identities.settings_sha256(first.config) != identities.settings_sha256(other.config):
        raise errors.Invalid(f"{names}: networks of different settings have no mean")
    ours, theirs = (_in_a_row(network) for network in (first, other))
    apart = np.linalg.norm(ours - theirs) / max(np.linalg.norm(ours), np.linalg.norm(theirs))
    if not apart <= FARTHEST:
        raise errors.Invalid(
            f"{names}: their kernels are {apart:.2f} of their length apart, at most {FARTHEST:g} have a mean that "
            "works: average a run with the network it began from (--config.train.begin_from)"
        )


def _in_a_row(network: trained.Trained) -> np.ndarray:
    """Returns all kernels of a network, one after the other by name: float32 [n]. Scales are alike in any network."""
    arrays = identities.named(network.variables["params"])
    return np.concatenate([np.ravel(arrays[name]) for name in sorted(arrays) if name.endswith("kernel")])
