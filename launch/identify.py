"""Says which track of a collection each clip comes from, and where in it, or that it is in none.

nafp identify DB cafe.wav clips/ list.txt          files, folders, lists
ffmpeg -i URL -t 10 -f wav - | nafp identify DB - --format=json
nafp identify DB --microphone=8 --top=3
nafp identify --checkpoint=RUN@best --store=STORE cafe.wav     in a store of nafp extract

Exit code: 0 something was found, 1 nothing was, 2 a clip could not be read or the command is wrong.
"""

from absl import flags

from . import devices, exits

_ALL = flags.DEFINE_bool("all", False, "Name candidates, too, that are probably wrong.")
_FORMATS = ["text", "json", "csv", "tsv", "pfann"]
_SETTINGS = (
    (flags.DEFINE_enum, "format", "text", _FORMATS, "json: one object for each clip and line."),
    (flags.DEFINE_string, "out", None, "pfann: its RESULT.tsv; _detail.csv and .bin go beside it."),
    (flags.DEFINE_integer, "top", 1, "Tracks to name for each clip, best first.", 1),
    (flags.DEFINE_float, "probability", 0.5, "Less is not in the collection.", 0.0, 1.0),
    (flags.DEFINE_string, "speeds", "auto", "To undo: auto, if unsure at its own; none; 0.9,1.1."),
    (
        flags.DEFINE_integer,
        "shifts",
        0,
        "Query rows for each of the database; 0: as needed.",
        0,
    ),
    (flags.DEFINE_float, "microphone", None, "Listen for so many seconds.", 1.0),
    (flags.DEFINE_integer, "raw_hz", 0, "`-` is bare float32, mono, at this rate.", 0),
    (flags.DEFINE_enum, "runtime", "auto", ["auto", "jax", "numpy"], "Auto: what answers sooner."),
    (flags.DEFINE_string, "store", None, "STORE of nafp extract, instead of a database."),
    (flags.DEFINE_list, "name", ["db"], "Names within the store, comma between."),
    (flags.DEFINE_string, "checkpoint", "small", "The network that wrote the store."),
    (flags.DEFINE_string, "confidence", None, "RESULTS/confidence.json of nafp evaluate."),
)
for _define, _name, *_rest in _SETTINGS:
    _define(_name, *_rest)


def main(argv: list[str]) -> int:
    given = {name: flags.FLAGS[name].value for _, name, *_ in _SETTINGS}
    if not given["store"] and len(argv) < 2:
        raise exits.wrong("name a database: nafp identify DB CLIP...")
    where, names = (None, argv[1:]) if given["store"] else (argv[1], argv[2:])
    if not names and not given["microphone"]:
        raise exits.wrong("name the clips to identify: files, folders, lists, - or --microphone=8")
    if _ALL.value:
        given["probability"] = 0.0
    from nafp.verbs import identify

    return identify.run(identify.Request(names, where, **given), prepare=devices.prepare)


if __name__ == "__main__":
    exits.run(main)
