"""The trained network that fingerprints what a protocol asks for."""

from collections.abc import Mapping

from nafp import errors

from . import devices


class Fingerprinting:
    """Fingerprints sources into stores, as evaluation's stages ask; opened when first needed."""

    def __init__(self, checkpoint: str | None):
        self._checkpoint, self._opened = checkpoint, None

    def __call__(
        self,
        source: str,
        *,
        folder: str,
        name: str,
        split: str | None,
        overwrite: bool,
        speed: float = 1.0,
    ) -> None:
        from nafp.search import store

        is_there = name in store.names(folder)
        if not self._checkpoint:
            if is_there and not overwrite:
                return
            raise errors.Invalid(f"{folder}: has no {name} yet; give --checkpoint to make it with")
        network = self._network()
        if is_there and not overwrite:
            self._check(store.Store.open(folder, name), network.identity)
            return
        from nafp.audio import decode
        from nafp.fingerprints import extract

        print(f"fingerprints of {source} -> {folder}/{name}", flush=True)
        with decode.hushed():
            extract.extract(
                network,
                source,
                folder,
                name=name,
                split=split,
                overwrite=overwrite,
                speed=speed,
            )

    def _network(self):
        if self._opened is None:
            devices.prepare(cpu_shares=devices.cores())
            from nafp.weights import sources

            self._opened = sources.open_extractor(self._checkpoint)
        return self._opened

    def _check(self, there, identity: Mapping) -> None:
        if there.meta.get("model") != identity:
            raise errors.Invalid(
                f"{there.folder}/{there.name} was made by {there.meta.get('model')}, not by"
                f" {identity}; give another --out, or --overwrite"
            )
