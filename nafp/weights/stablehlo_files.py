"""Exports a trained network as StableHLO: one program for CPUs, CUDA and TPUs, for any number of segments.

A file is what `jax.export` serialises, with the parameters inside. `jax.export.deserialize(data).call(waveforms)` runs
it, waveforms float32 [n, S] in, fingerprints float32 [n, D] out. JAX promises to read it for six months.
"""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp

from nafp import errors
from nafp.audio import segments
from nafp.jobs import whole_files
from nafp.models import front_ends, network, spectrogram
from nafp.weights import trained

PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: str | os.PathLike, source: trained.Trained) -> int:
    """Writes the program of a network and returns the number of its bytes.

    The products are in float32 on every platform. A fingerprint depends on its segment alone. Raises
    nafp.errors.Invalid for a front end that sees the batch, and if the package flatbuffers is missing.
    """
    with whole_files.opened(path, "wb") as file:
        return file.write(serialised(source))


def serialised(source: trained.Trained) -> bytes:
    """Returns the program of a network, the contents of a file. Errors as of `write`."""
    from jax import export

    variables, config, *_ = source
    if front_ends.of_settings(config.spectrogram).sees_batch:
        raise errors.Invalid(
            f"config.spectrogram.front_end={config.spectrogram.front_end!r}: fingerprints would depend on "
            "the other segments of a call; --format=onnx treats each segment by itself"
        )
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.form = "lax"  # The form for CPUs needs to know the number of segments.
    model, mel = network.create(config, dtype="float32"), network.mel_settings(config)
    fixed = jax.tree.map(jnp.asarray, variables)

    def fingerprint(waveforms: jax.Array) -> Any:
        return model.apply(fixed, spectrogram.log_mel(waveforms, **mel))

    (n,) = export.symbolic_shape("n")
    segment = segments.to_samples(config.audio.segment_s, config.audio.sample_rate_hz)
    shape = jax.ShapeDtypeStruct((n, segment), jnp.float32)
    program = export.export(jax.jit(fingerprint), platforms=PLATFORMS)(shape)
    try:
        return bytes(program.serialize())
    except ModuleNotFoundError as error:
        raise errors.Invalid(
            "a StableHLO file is written with the package flatbuffers: pip install 'nafp[onnx]'"
        ) from error
