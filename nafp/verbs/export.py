"""`nafp export`: writes a trained network into one file, ours or one of another system."""

from __future__ import annotations

import os
import pathlib

from nafp import errors
from nafp.jobs import outputs


def run(
    out: str | os.PathLike,
    *,
    checkpoint: str | None = None,
    foreign: str | None = None,
    settings_file: str | None = None,
    front_end: str | None = None,
    format: str = "",
    dtype: str = "",
) -> None:
    """Writes the network into `out` and prints what was written.

    checkpoint: a trained network of ours, as `nafp.load` takes it. foreign: one of another system, in its place.
    settings_file, front_end: of a foreign one, see `nafp.weights.imports.read`. format: one of `nafp.weights.files.FORMATS`, "" for
    what the name ends with. dtype: of the parameters, "" for
    float32, or in ONNX float16 if that loses nothing. Raises errors.Invalid unless exactly one network is named.
    """
    out = pathlib.Path(out)
    if bool(checkpoint) == bool(foreign):
        raise errors.Invalid(
            "name one network: --checkpoint=RUN for one of ours, --from=FILE for one of another system"
        )
    if checkpoint and (settings_file or front_end):
        raise errors.Invalid(
            "--from_config and --from_front_end say how to read a network of another system: --from=FILE"
        )
    inputs = [name for name in (checkpoint, foreign, settings_file) if name]
    outputs.require(out, verb="nafp export", is_former=_is_network, inputs=inputs)
    from nafp.weights import files, imports, sources

    if checkpoint:
        network = sources.read(checkpoint)
    else:
        network = imports.read(str(foreign), settings_file=settings_file, front_end=front_end)
    variables, config, step, name = network
    format = format or (out.suffix[1:] if out.suffix[1:] in files.FORMATS else "npz")
    dtype = dtype or ("float16" if format == "onnx" and files.fits_float16(variables) else "float32")
    written = files.write(out, variables, config, step=step, source=name, dtype=dtype, format=format)
    print(
        f"{name}  →  {out}: {written.n_parameters:,} parameters as {dtype}, "
        f"{written.n_bytes:,} bytes, sha256 {written.sha256[:12]}"
    )


def _is_network(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of an exported network, in either format."""
    return b"nafp network" in head or b"params/" in head
