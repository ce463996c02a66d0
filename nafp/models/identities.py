"""Names a trained network by its parameters, and compares such names, in numpy alone.

An identity is a mapping that travels with fingerprints: sha256 and sha256_before of the parameters, settings (a digest
of what else changes a fingerprint, see `settings_sha256`), source, step, and for stores the dtype computed in. Version
0.1 wrote one digest only, as `sha256`: the one that is `sha256_before` now, which depends on how JAX spells a path in a
tree. Versions up to 0.2 wrote no `settings`. Stores and databases of those versions compare equal to today's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import nafp.config
from nafp.config import network

if TYPE_CHECKING:
    import ml_collections

_DIGESTS = ("sha256", "sha256_before", "settings")
_COLLECTIONS = ("params", "batch_stats")
# Settings of a network that change no fingerprint: rows between, form and type of the computation.
_FREE = ("audio.hop_s", "model.form", "model.dtype")


def of(
    variables: Mapping[str, Any], *, source: str, step: int, config: ml_collections.ConfigDict | None = None
) -> dict[str, Any]:
    """Returns the identity of a network with these variables, a tree of arrays as flax takes it.

    config: its configuration, some settings of which change a fingerprint as the parameters do. None leaves them out.
    """
    known = {"settings": settings_sha256(config)} if config is not None else {}
    return known | {
        "sha256": sha256(variables),
        "sha256_before": sha256_before(variables),
        "source": source,
        "step": step,
    }


def same_network(one: Any, other: Any) -> bool:
    """Returns whether two identities are of one network, each from any version of this package.

    Settings are compared where both identities have a digest of them.
    """
    if digest(one) != digest(other):
        return False
    known = {identity.get("settings") for identity in (one, other) if isinstance(identity, Mapping)} - {None}
    return len(known) < 2


def settings_sha256(config: ml_collections.ConfigDict) -> str:
    """Hashes the settings that change a fingerprint: 64 hexadecimal digits.

    Only those that differ from the defaults count, so that a setting of a later version leaves the digest as it is.
    """
    default = network_settings(nafp.config.default())
    changed = {name: value for name, value in network_settings(config).items() if default.get(name) != value}
    return hashlib.sha256(json.dumps(changed, sort_keys=True, default=str).encode()).hexdigest()


def network_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Lists the settings that change a fingerprint by full name, such as audio.segment_s."""
    sections = {section: config[section].to_dict() for section in network.SECTIONS}
    named = {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
    return {name: value for name, value in named.items() if name not in _FREE}


def same_record(one: Any, other: Any) -> bool:
    """Returns whether two identities are of one network and agree in source, step and dtype, too."""
    return same_network(one, other) and _without_digests(one) == _without_digests(other)


def digest(identity: Any) -> Any:
    """Returns what identities of all versions have in common: the digest that version 0.1 has.

    What is not a mapping with a digest, such as the word by which a foreign store names its model, is returned as it
    is.
    """
    if not isinstance(identity, Mapping):
        return identity
    return identity.get("sha256_before") or identity.get("sha256") or identity


def as_begun(meta: dict[str, Any], head: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the metadata of a store, with the identity in `meta["model"]` written as the store was begun with it.

    head: first entry of the store's journal, None for a new store. This lets a store that an earlier version began be
    finished by this one. Metadata with another model is returned unchanged.
    """
    begun = (head or {}).get("meta", {}).get("model")
    return {**meta, "model": begun} if begun and same_record(meta.get("model"), begun) else meta


def sha256(variables: Mapping[str, Any]) -> str:
    """Hashes parameters with their names, such as params/block1_time/kernel: 64 hexadecimal digits."""
    return _hashed(variables, lambda name: name)


def sha256_before(variables: Mapping[str, Any]) -> str:
    """Hashes parameters as version 0.1 does, with JAX's spelling of their names: 64 hexadecimal digits."""
    return _hashed(variables, spelled_by_jax)


def spelled_by_jax(name: str) -> str:
    """Returns the str() of the path that JAX's tree functions give to a parameter, for its name."""
    return f"({', '.join(f'DictKey(key={part!r})' for part in name.split('/'))}{',' * ('/' not in name)})"


def named(variables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns the arrays of a tree by name, the keys on the way to each joined by slashes."""
    arrays = {}
    for key, value in variables.items():
        name = f"{above}{key}"
        arrays.update(named(value, f"{name}/") if isinstance(value, Mapping) else {name: value})
    return arrays


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Builds the tree of variables from arrays by name, the inverse of `named`. All become float32.

    Arrays of no collection, such as those of a mel bank in the same file, are left out.
    """
    tree: dict[str, Any] = {name: {} for name in _COLLECTIONS}
    for name, array in arrays.items():
        collection, *above, last = name.split("/")
        if collection in _COLLECTIONS:
            branch = tree[collection]
            for part in above:
                branch = branch.setdefault(part, {})
            branch[last] = np.asarray(array, np.float32)
    return tree


def _hashed(variables: Mapping[str, Any], spell: Callable[[str], str]) -> str:
    result = hashlib.sha256()
    pairs = [(spell(name), array) for name, array in named(variables).items()]
    for name, array in sorted(pairs, key=lambda pair: pair[0]):
        result.update(name.encode())
        result.update(np.ascontiguousarray(array, np.float32).tobytes())
    return result.hexdigest()


def _without_digests(identity: Any) -> Any:
    if not isinstance(identity, Mapping):
        return identity
    return {key: value for key, value in identity.items() if key not in _DIGESTS}
