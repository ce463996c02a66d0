"""Writes the parameters of a trained network into one file, for use without JAX.

nafp export --checkpoint=RUN@best --format=npz --out=FILE.npz
"""

import pathlib

from absl import flags

from nafp.jobs import outputs

from . import devices, exits

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "RUN, RUN@STEP, RUN@best, a shipped network, or an exported file."
)
_FORMAT = flags.DEFINE_enum("format", "npz", ["npz", "safetensors"], "Format of the file.")
_OUT = flags.DEFINE_string("out", None, "FILE to write. An exported network of this name is replaced.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "Type of the parameters in the file.")
flags.mark_flags_as_required(["checkpoint", "out"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; the file goes into --out=")
    checkpoint, out = str(_CHECKPOINT.value), pathlib.Path(str(_OUT.value))
    outputs.require(out, verb="nafp export", is_former=lambda head: b"nafp network" in head or b"params/" in head)
    devices.prepare()
    from nafp.weights import files, sources

    variables, config, step, name = sources.read(checkpoint)
    written = files.write(out, variables, config, step=step, source=name, dtype=_DTYPE.value, format=_FORMAT.value)
    print(
        f"{name}  →  {_OUT.value}: {written.n_parameters:,} parameters as {_DTYPE.value}, "
        f"{written.n_bytes:,} bytes, sha256 {written.sha256[:12]}"
    )


if __name__ == "__main__":
    exits.run(main)
