"""Fingerprints whatever an evaluation's protocol asks for, with the trained network that the command names."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nafp import errors

from . import devices, words

if TYPE_CHECKING:
    from nafp.models import protocol
    from nafp.search import store


class Fingerprinting:
    """Makes the stores that the stages of an evaluation need. The network is opened when the first one is needed."""

    def __init__(self, checkpoint: str | None):
        self._checkpoint = words.network(checkpoint)  # Looked for before queries are rendered.

    def __call__(
        self, source: str, *, folder: str, name: str, split: str | None, overwrite: bool, speed: float = 1.0
    ) -> None:
        """Fingerprints `source` into folder/name unless it exists. Raises errors.Invalid if another network made it."""
        from nafp.search import store

        is_there = name in store.names(folder) and not overwrite
        if not self._checkpoint and not is_there:
            raise errors.Invalid(f"{folder}: has no {name} yet; give --checkpoint to make it with")
        if is_there:
            if self._checkpoint:
                _require_same(store.Store.open(folder, name), self._network.identity)
            return
        network = self._network
        from nafp.audio import decode
        from nafp.fingerprints import extract

        print(f"fingerprints of {source} -> {folder}/{name}", flush=True)
        with decode.hushed():
            extract.extract(network, source, folder, name=name, split=split, overwrite=overwrite, speed=speed)

    @functools.cached_property
    def _network(self) -> protocol.Network:
        devices.prepare(cpu_shares=devices.cores())
        from nafp.weights import sources

        return sources.open_extractor(self._checkpoint)


def _require_same(opened: store.Store, identity: Mapping[str, Any]) -> None:
    from nafp.models import identities

    made_by = opened.meta.get("model")
    if not identities.same_record(made_by, identity):
        where = f"{opened.folder}/{opened.name}"
        raise errors.Invalid(f"{where} was made by {made_by}, not by {identity}; give another --out, or --overwrite")
