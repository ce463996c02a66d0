"""Renders queries with ground truth: references, noise and rooms -> clips and expected.csv.

nafp queries render --source=CORPUS --split=test --count=150 --conditions=clean,n5,phone --out=DIR
"""

from absl import app, flags

from . import rooms

_SOURCE = flags.DEFINE_string(
    "source", None, "References: CORPUS, manifest.csv, or a folder of audio."
)
_NOISE = flags.DEFINE_string(
    "noise", None, "Noise and responses, likewise; by default those of --source."
)
_OUT = flags.DEFINE_string("out", None, "Folder for the clips, expected.csv and list.txt.")
_SPLIT = flags.DEFINE_string("split", "test", "Split of the references, the noise and responses.")
_CONDITIONS = flags.DEFINE_list(
    "conditions", None, "n5, room, phone, mp3, speed+4, n5.room.mic...; by default twelve."
)
_SNR_DB = flags.DEFINE_list(
    "snr_db", [], "Adds n<SNR>.room.mic for each, pfann's set: -6,-4,-2,0,2,4,6,8."
)
_COUNT = flags.DEFINE_integer("count", 100, "Clips per condition.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "Length of a clip.", lower_bound=1.0)
_SEED = flags.DEFINE_integer("seed", 0, "Same seed, same bytes.", lower_bound=0)
_SPLICED = flags.DEFINE_bool(
    "spliced", False, "Each second has its own shift, noise and responses, as the original's."
)
_ALIGNED = flags.DEFINE_bool(
    "aligned", False, "Degrade whole tracks in place, under one condition: row i answers row i."
)
_JOBS = flags.DEFINE_integer("jobs", 0, "Threads; 0: one per processor.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace the queries in --out.")
flags.mark_flags_as_required(["source", "out"])


def main(argv: list[str]) -> None:
    if argv[1:] != ["render"]:
        raise app.UsageError(
            f"{argv[1:]} given; there is: nafp queries render --source=... --out=..."
        )
    queries, material = rooms.load("evaluation.queries"), rooms.load("evaluation.material")
    source = material.Material(_SOURCE.value)
    noise = material.Material(_NOISE.value, kind="noise") if _NOISE.value else source
    names = queries.names_of(_CONDITIONS.value, snr_db=_SNR_DB.value)
    same = {"split": _SPLIT.value, "seed": _SEED.value, "spliced": _SPLICED.value, "show": True}
    same |= {"jobs": _JOBS.value, "overwrite": _OVERWRITE.value}
    if _ALIGNED.value:
        rows = queries.render_aligned(source, noise, _OUT.value, names=names, **same)
    else:
        length = {"count": _COUNT.value, "seconds": _SECONDS.value}
        rows = queries.render(source, noise, _OUT.value, names=names, **length, **same)
    print(f"{_OUT.value}: {len(rows)} queries, their answers in expected.csv")


if __name__ == "__main__":
    app.run(main)
