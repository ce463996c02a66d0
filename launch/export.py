"""Writes a trained network for use elsewhere: one of ours, or of another system.

nafp export --checkpoint=RUN@best --format=npz --out=FILE.npz
nafp export --checkpoint=small --format=onnx --out=small.onnx            waveforms in, fingerprints out
nafp export --checkpoint=RUN@best --average=small --out=mean.npz         the mean of a run and what it began from
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
_FLAGS: tuple[tuple[Any, ...], ...] = (
    (flags.DEFINE_string, "checkpoint", "RUN, RUN@STEP, RUN@best, a shipped network, file or folder."),
    (flags.DEFINE_list, "average", "Networks to average with it, such as the one that its training began from."),
    (flags.DEFINE_string, "from", "In place of --checkpoint: another system's checkpoint or torch file."),
    (flags.DEFINE_string, "from_config", "pfann's JSON, if it lies elsewhere. The original's YAML, if not default."),
    (flags.DEFINE_string, "from_front_end", _FRONT_END),
    (flags.DEFINE_enum, "format", "folder: a model folder. Default: by the name, or npz.", _FORMATS),
    (flags.DEFINE_enum, "dtype", "Of the parameters. Default: float32; in ONNX float16 if exact.", _TYPES),
    (flags.DEFINE_string, "calibrate", "With --dtype=int8: recordings that set its ranges."),
    (flags.DEFINE_string, "results", "RESULTS of nafp evaluate, for the card of a model folder."),
    (flags.DEFINE_string, "data", "List of the recordings it was trained with, for the card."),
    (flags.DEFINE_string, "licence", "Licence of the parameters, for the card, such as CC-BY-4.0."),
)
_PARAMETERS = {"from": "foreign", "from_config": "settings_file", "from_front_end": "front_end"}  # Of other names.
for _define, _name, _help, *_allowed in _FLAGS:
    _define(_name, None, *_allowed, _help)
_OUT = flags.DEFINE_string("out", None, "FILE to write, or FOLDER; one of this name is replaced.", required=True)


def main(argv: list[str]) -> None:
    words.require_none(argv, "the file goes into --out=")
    devices.prepare()
    from nafp.verbs import export

    export.run(_OUT.value or "", **{_PARAMETERS.get(name, name): flags.FLAGS[name].value for _, name, *_ in _FLAGS})


if __name__ == "__main__":
    exits.run(main)
