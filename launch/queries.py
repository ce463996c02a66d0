"""Renders queries and training pairs with ground truth, and pages to listen to them.

nafp queries render --source=CORPUS --split=test --count=150 --conditions=clean,n5,phone --out=DIR
nafp queries pairs  --source=CORPUS --split=train,val --variants=10 --out=PAIRS
nafp queries listen --source=CORPUS --split=test --count=4 --conditions=n5,phone --out=page.html
nafp queries listen --config=configs/default.py --config.data.corpus=CORPUS --out=page.html
"""

from absl import flags

from . import exits, listening, rooms

_SETTINGS = (
    (flags.DEFINE_string, "source", None, "References: CORPUS, manifest.csv, or a folder."),
    (flags.DEFINE_string, "noise", None, "Noise and responses, likewise; those of --source."),
    (flags.DEFINE_string, "out", None, "Folder; of listen, an HTML file."),
    (flags.DEFINE_list, "split", None, "Of references, noise and responses; test; of pairs train."),
    (flags.DEFINE_list, "conditions", None, "n5, room, phone, mp3@16, n0~10.room.mic...; twelve."),
    (flags.DEFINE_list, "snr_db", [], "Adds n<SNR>.room.mic for each; pfann: -6,-4,-2,0,2,4,6,8."),
    (flags.DEFINE_integer, "count", None, "Clips per condition, 100; of pairs, tracks, all."),
    (flags.DEFINE_float, "seconds", None, "Of a clip, 10; of pairs, what keeps a condition, 30."),
    (flags.DEFINE_integer, "variants", 10, "pairs: degraded versions of each recording."),
    (flags.DEFINE_integer, "sample_rate_hz", 8000, "pairs: the network's."),
    (flags.DEFINE_integer, "seed", 0, "Same seed, same bytes."),
    (flags.DEFINE_bool, "spliced", False, "Each second has its own shift, noise and response."),
    (flags.DEFINE_bool, "aligned", False, "Whole tracks in place: row i answers row i."),
    (flags.DEFINE_integer, "jobs", 0, "Threads; 0: one per processor."),
    (flags.DEFINE_bool, "overwrite", False, "Replace the queries in --out."),
)
for _define, _name, _default, _text in _SETTINGS:
    _define(_name, _default, _text)
flags.mark_flag_as_required("out")


def main(argv: list[str]) -> None:
    verbs = rooms.load("evaluation.queries.verbs")
    if argv[1:] not in ([verb] for verb in verbs.VERBS):
        raise exits.wrong(f"{argv[1:]} given; there are: {', '.join(verbs.VERBS)}")
    given = {name: flags.FLAGS[name].value for _, name, *_ in _SETTINGS}
    if argv[1] == "listen" and listening.is_given():
        count, seconds = given["count"] or 6, given["seconds"] or 5.0
        listening.of_training(given["out"], count=count, seconds=seconds)
        print(given["out"])
    else:
        print(verbs.VERBS[argv[1]](verbs.Request(**given)))


if __name__ == "__main__":
    exits.run(main, listening)
