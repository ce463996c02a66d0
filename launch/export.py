"""Writes a trained network for use elsewhere: one of ours, or of another system.

nafp export --checkpoint=RUN@best --format=npz --out=FILE.npz
nafp export --checkpoint=small --format=onnx --out=small.onnx            waveforms in, fingerprints out
nafp export --checkpoint=RUN --format=folder --out=FOLDER --results=RESULTS --data=LIST --licence=CC0-1.0
nafp export --from=logs/checkpoint/NAME --out=original.safetensors       the original's checkpoint of TensorFlow
nafp export --from=fma_full/model.pt --out=pfann.safetensors             with pfann's configs.json beside it
nafp export --from=fingerprinter.pt --out=benchmark.safetensors          the benchmark's, or song_mine's
"""

from typing import Any

from absl import flags

from . import devices, exits, words

_FORMATS = ["npz", "safetensors", "onnx", "stablehlo", "folder"]
_TYPES = ["float32", "float16", "int8"]
_FRONT_END = (
    "Of the original's: nafp (each segment by itself, default) or original (depends on the batch). Of the benchmark's: "
    "benchmark (default) or song_mine."
)
# Parameter of nafp.verbs.export.run -> its flag.
_FLAGS: dict[str, tuple[Any, ...]] = {
    "checkpoint": (flags.DEFINE_string, "checkpoint", "RUN, RUN@STEP, RUN@best, a shipped network, file or folder."),
    "foreign": (flags.DEFINE_string, "from", "In place of --checkpoint: another system's checkpoint or torch file."),
    "settings_file": (flags.DEFINE_string, "from_config", "pfann's JSON, if elsewhere. The original's YAML."),
    "front_end": (flags.DEFINE_string, "from_front_end", _FRONT_END),
    "format": (flags.DEFINE_enum, "format", "folder: a model folder. Default: by the name, or npz.", _FORMATS),
    "dtype": (flags.DEFINE_enum, "dtype", "Of the parameters. Default: float32; in ONNX float16 if exact.", _TYPES),
    "calibrate": (flags.DEFINE_string, "calibrate", "With --dtype=int8: recordings that set its ranges."),
    "results": (flags.DEFINE_string, "results", "RESULTS of nafp evaluate, for the card of a model folder."),
    "data": (flags.DEFINE_string, "data", "List of the recordings it was trained with, for the card."),
    "licence": (flags.DEFINE_string, "licence", "Licence of the parameters, for the card, such as CC-BY-4.0."),
}
for _define, _name, _help, *_allowed in _FLAGS.values():
    _define(_name, None, *_allowed, _help)
_OUT = flags.DEFINE_string("out", None, "FILE to write, or FOLDER; one of this name is replaced.", required=True)


def main(argv: list[str]) -> None:
    words.require_none(argv, "the file goes into --out=")
    devices.prepare()
    from nafp.verbs import export

    export.run(_OUT.value or "", **{name: flags.FLAGS[flag].value for name, (_, flag, *_) in _FLAGS.items()})


if __name__ == "__main__":
    exits.run(main)
