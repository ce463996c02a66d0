"""Writes the parameters of a trained network into one file, for use without JAX: one of ours, or of another system.

nafp export --checkpoint=RUN@best --format=npz --out=FILE.npz
nafp export --checkpoint=small --format=onnx --out=small.onnx            waveforms in, fingerprints out
nafp export --from=logs/checkpoint/NAME --out=original.safetensors       the original's checkpoint of TensorFlow
nafp export --from=fma_full/model.pt --out=pfann.safetensors             with pfann's configs.json beside it
nafp export --from=fingerprinter.pt --out=benchmark.safetensors          the benchmark's, or song_mine's
"""

from absl import flags

from . import devices, exits, words

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "RUN, RUN@STEP, RUN@best, a shipped network, or an exported file."
)
_FROM = flags.DEFINE_string(
    "from",
    None,
    "In place of --checkpoint: the network of another system. A checkpoint of TensorFlow, or a torch file.",
)
_CONFIG = flags.DEFINE_string(
    "from_config", None, "pfann's JSON, if it is not beside the torch file. The original's YAML, if not default."
)
_FRONT_END = flags.DEFINE_string(
    "from_front_end",
    None,
    "Of the original's: nafp (each segment by itself, default) or original (depends on the batch). Of the benchmark's: "
    "benchmark (default) or song_mine.",
)
_FORMAT = flags.DEFINE_enum(
    "format", None, ["npz", "safetensors", "onnx"], "Format of the file. Default: by its name, or npz."
)
_OUT = flags.DEFINE_string("out", None, "FILE to write; one of this name is replaced.", required=True)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "float16"],
    "Type of the parameters in the file. Default: float32, in ONNX float16 if that loses nothing.",
)


def main(argv: list[str]) -> None:
    words.require_none(argv, "the file goes into --out=")
    devices.prepare()
    from nafp.verbs import export

    export.run(
        str(_OUT.value),
        checkpoint=_CHECKPOINT.value,
        foreign=_FROM.value,
        settings_file=_CONFIG.value,
        front_end=_FRONT_END.value,
        format=_FORMAT.value or "",
        dtype=_DTYPE.value or "",
    )


if __name__ == "__main__":
    exits.run(main)
