"""Says which track of a collection each clip comes from, and where in it, or that it is in none.

nafp identify DB cafe.wav clips/ list.txt                      files, folders, lists
ffmpeg -i URL -t 10 -f wav - | nafp identify DB - --format=json
nafp identify DB --microphone=8 --top=3
nafp identify --checkpoint=RUN@best --store=STORE cafe.wav     in a store of nafp extract

Exit code: 0 if something was found, 1 if nothing was, 2 if a clip could not be read or the command is wrong.
"""

from typing import Any

from absl import flags

from nafp.identify import asking

from . import devices, exits, words

_ALL = flags.DEFINE_bool("all", False, "Also name candidates that are probably wrong.")
_FORMATS, _RUNTIMES = ["text", "json", "csv", "tsv", "pfann"], ["auto", "jax", "numpy", "onnx"]
_SETTINGS = (
    (flags.DEFINE_enum, "format", "text", _FORMATS, "How to write the answers. json: one object a clip, on one line."),
    (flags.DEFINE_string, "out", None, "With --format=pfann: the RESULT.tsv to write, with _detail.csv and .bin."),
    (flags.DEFINE_string, "songs", None, "With --format=pfann: list of all songs, in the order of the .bin."),
    (flags.DEFINE_integer, "top", 1, "How many tracks to name for each clip, best first.", 1),
    (flags.DEFINE_float, "probability", asking.LEAST_PROBABLE, "Least probability of an answer, 0 to 1.", 0.0, 1.0),
    (flags.DEFINE_string, "speeds", "auto", "auto: others if unsure, then pitches; near: no pitches; none; 0.9,1.1."),
    (flags.DEFINE_integer, "shifts", 0, "Query rows for each row of the database. 0: as many as needed.", 0),
    (flags.DEFINE_float, "microphone", None, "Listen to the microphone for this many seconds.", 1.0, asking.LONGEST_S),
    (flags.DEFINE_integer, "raw_hz", 0, "Rate, if `-` is bare float32 mono audio. 0: a file of any format.", 0),
    (flags.DEFINE_enum, "runtime", "auto", _RUNTIMES, "What computes the network. auto: what answers sooner."),
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
        raise exits.wrong("name a database: nafp identify DB CLIP...")
    database, names = (None, argv[1:]) if settings["store"] else (argv[1], argv[2:])
    if not names and not settings["microphone"]:
        raise exits.wrong("name the clips to identify: files, folders, lists, - or --microphone=8")
    words.require_used(names, is_store=bool(settings["store"]))
    words.only_with(["probability"], not _ALL.value, "is left out with --all, which names all candidates")
    if _ALL.value:
        settings["probability"] = 0.0
    from nafp.audio import decode
    from nafp.verbs import identify

    with decode.hushed():  # Decoders write remarks past Python.
        return identify.run(identify.IdentifyRequest(names, database, **settings), prepare=devices.prepare)


if __name__ == "__main__":
    exits.run(main)
