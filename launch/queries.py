"""Renders queries and training pairs with their truth, and pages to listen to them.

nafp queries render --source=CORPUS --split=test --count=150 --conditions=clean,n5,phone --out=DIR
nafp queries pairs  --source=CORPUS --split=train,val --variants=10 --out=PAIRS
nafp queries listen --source=CORPUS --split=test --count=4 --conditions=n5,phone --out=page.html
nafp queries listen --config=configs/default.py --config.data.corpus=CORPUS --out=page.html

The same settings and the same --seed give the same bytes.
"""

from typing import Any

from absl import flags

from . import exits, listening, rooms, spectrograms, words

# The defaults are those of `evaluation.queries.verbs.QueriesRequest`. A test compares them with these texts.
_SETTINGS: dict[str, tuple[Any, ...]] = {
    "source": (flags.DEFINE_string, "References to cut from: a CORPUS, a manifest, a list or a folder."),
    "noise": (flags.DEFINE_string, "Noise and responses: a CORPUS, a manifest, a list or a folder. Default: --source."),
    "out": (flags.DEFINE_string, "Folder to write, or the HTML file of listen. Required."),
    "split": (flags.DEFINE_list, "Split of references, noise and responses. Default: test; pairs: train."),
    "noise_split": (flags.DEFINE_string, "Split of noise and responses alone. Default: --split."),
    "conditions": (flags.DEFINE_list, "Such as n5, room, phone, mp3@16, n0~10.room.mic. Default: twelve; pairs: four."),
    "snr_db": (flags.DEFINE_list, "Signal-to-noise ratios, dB; each adds the condition n<SNR>.room.mic."),
    "count": (flags.DEFINE_integer, "Clips per condition. Default: 100; listen: 4, or 6 with --config; pairs: all.", 1),
    "seconds": (flags.DEFINE_float, "Of a clip. Default: 10; listen: 5; pairs: 30, of one condition.", 0, 1e6),
    "form": (flags.DEFINE_string, "Form of pairs: waveforms, or song_mine for spectrograms. Default: waveforms."),
    "segments": (flags.DEFINE_integer, "pairs --form=song_mine: seconds to draw from each recording. Default: 5.", 1),
    "variants": (flags.DEFINE_integer, "pairs: degraded versions of each recording. Default: 10.", 1),
    "sample_rate_hz": (flags.DEFINE_integer, "pairs: sample rate, Hz, that of the network. Default: 8000.", 1000),
    "seed": (flags.DEFINE_integer, "Seed of all that is drawn. Default: 0.", 0),
    "spliced": (flags.DEFINE_bool, "Give each second its own shift, noise and response. Default: no."),
    "aligned": (flags.DEFINE_bool, "Degrade whole tracks in place: row i answers row i. Default: no."),
    "jobs": (flags.DEFINE_integer, "Number of threads that render. 0: one for each processor. Default: 0.", 0),
    "overwrite": (flags.DEFINE_bool, "Replace the queries in --out. Default: no."),
}
for _name, (_define, *_rest) in _SETTINGS.items():
    _define(_name, None, *_rest)
flags.mark_flag_as_required("out")


def main(argv: list[str]) -> None:
    verbs = rooms.load("evaluation.queries.verbs")
    if argv[1:] not in ([verb] for verb in verbs.VERBS):
        raise exits.wrong(f"{argv[1:]} given; there are: {', '.join(verbs.VERBS)}")
    given = words.given(_SETTINGS)
    words.only_with(["config"], argv[1] == "listen", "is a training to listen to: nafp queries listen")
    verbs.require_used(argv[1], given, is_of_training=listening.is_given())
    if argv[1] == "listen" and listening.is_given():
        listening.of_training(given["out"], count=given.get("count", 6), seconds=given.get("seconds", 5.0))
        print(given["out"])
    elif argv[1] == "pairs" and given.get("form", "waveforms") != "waveforms":
        print(verbs.render_seconds(verbs.QueriesRequest(**given), spectrogram=spectrograms.by_form(**given)))
    else:
        print(verbs.VERBS[argv[1]](verbs.QueriesRequest(**given)))


if __name__ == "__main__":
    exits.run(main, listening)
