"""Says what is played in long recordings and streams: every track, from when to when, where in it, and how fast.

nafp monitor DB set.mp3 show.flac                    recordings
nafp monitor DB https://radio.example/stream --format=json
nafp monitor DB night.wav --state=night.state --out=night.csv --format=csv      resumes after an interruption
arecord -f FLOAT_LE -r 16000 -t raw | nafp monitor DB - --raw_hz=16000
nafp monitor DB microphone
nafp monitor DB "ffmpeg:-f pulse -i default"         whatever ffmpeg can open

A track gets its line as soon as its end is known, some 20 seconds after it; gaps are unknown. Ctrl-C ends a stream.

Exit code: 0 if something was found, 1 if nothing was, 2 if an input could not be read or the command is wrong.
"""

from typing import Any

from absl import flags

from nafp.identify import asking

from . import devices, exits, words

_RUNTIMES = ["auto", "jax", "numpy", "onnx"]

_LIMITS = (0.0, asking.LARGEST_MAX_SPEED)
_SETTINGS = (
    (flags.DEFINE_enum, "format", "text", ["text", "json", "csv"], "How to write lines. json: one object a line."),
    (flags.DEFINE_string, "out", None, "File to write the lines to, instead of standard output."),
    (flags.DEFINE_string, "state", None, "File that remembers how far the recording was heard, to resume from."),
    (flags.DEFINE_float, "max_speed", asking.MAX_SPEED, "How much faster or slower tracks may be, percent.", *_LIMITS),
    (flags.DEFINE_bool, "unknown", True, "Also write a line for times when no track of the database played."),
    (flags.DEFINE_bool, "playing", False, "Say on standard error what is recognised, as soon as it is."),
    (flags.DEFINE_integer, "raw_hz", 0, "Rate, if `-` is bare float32 mono audio. 0: a file of any format.", 0),
    (flags.DEFINE_enum, "runtime", "auto", _RUNTIMES, "What computes the network. auto: JAX if there."),
    (flags.DEFINE_string, "store", None, "STORE of nafp extract to search, instead of a database."),
    (flags.DEFINE_list, "name", ["db"], "Names within the store, separated by commas."),
    (flags.DEFINE_string, "checkpoint", None, "Network of STORE (else small), or that of DB as another file."),
    (flags.DEFINE_string, "confidence", None, "Calibration to use: the confidence.json of nafp evaluate."),
)
for _define, _name, *_rest in _SETTINGS:
    _define(_name, *_rest)


def main(argv: list[str]) -> int:
    settings: dict[str, Any] = {name: flags.FLAGS[name].value for _, name, *_ in _SETTINGS}
    if not settings["store"] and len(argv) < 2:
        raise exits.wrong("name a database: nafp monitor DB INPUT...")
    database, names = (None, argv[1:]) if settings["store"] else (argv[1], argv[2:])
    if not names:
        raise exits.wrong("name what to listen to: a file, a URL, - or microphone")
    words.require_used(names, is_store=bool(settings["store"]))
    from nafp.audio import decode
    from nafp.verbs import monitor

    with decode.hushed():  # Decoders write remarks past Python.
        return monitor.run(monitor.MonitorRequest(names, database, **settings), prepare=devices.prepare)


if __name__ == "__main__":
    exits.run(main)
