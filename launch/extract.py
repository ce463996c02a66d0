"""Fingerprints a corpus, a folder, a list or a file into a store, with a trained network.

nafp extract --checkpoint=RUN@best --source=CORPUS --name=db --out=STORE
nafp extract --checkpoint=RUN@best --source=music/ --per_track --hop_s=0.25 --out=FOLDER
nafp extract --checkpoint=RUN@best --source=CORPUS --out=STORE --processes=N --process=I     # One share; then --join.
"""

from typing import Any

from absl import flags

from . import devices, exits, processes, words

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The trained network: RUN, RUN@STEP, RUN@best, or an exported file.", required=True
)
_SOURCE = flags.DEFINE_string(
    "source", None, "What to fingerprint: a corpus, a folder of audio, a list (.txt, .csv), or one file.", required=True
)
_SPLIT = flags.DEFINE_string("split", None, "Take only these splits of a corpus or manifest, with commas between.")
_NAME = flags.DEFINE_string("name", "db", "Name within the store: query, db, dummy_db, ...")
_OUT = flags.DEFINE_string("out", None, "Folder of the store.", required=True)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a finished store of this name.")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Number of segments that go through the network at once; 0 chooses it by the devices.", 0
)
_SPEEDS = flags.DEFINE_list(
    "speeds",
    ["1"],
    "For queries: speeds to undo, with commas between, or auto. Each makes a store of its own: query, query@0.97, ...",
)
_SHIFTS = flags.DEFINE_integer("shifts", 1, "For queries: number of rows for each row of a database.", 1)
_HOP = flags.DEFINE_float("hop_s", None, "Seconds between fingerprints. Left out: the hop of the network.")
_SHORT = flags.DEFINE_enum(
    "short",
    "auto",
    ["auto", "pad", "skip"],
    "Tracks of less than a segment: fill them up with silence, or skip them. auto: pad in the original's tree.",
)
_EACH = flags.DEFINE_bool("per_track", False, "Write OUT/SONG.npy of each track, [n, D], instead of a store; resumes.")
_JOIN = flags.DEFINE_bool("join", False, "Make the store of its shares, after --processes=N --process=I for each I.")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Number type in which the network computes.")


def main(argv: list[str]) -> int:
    words.require_none(argv, "the source goes into --source=")
    words.only_with(["name"], not _EACH.value, "names a store; --per_track names each file after its song")
    devices.prepare(cpu_shares=devices.cores())
    from nafp.verbs import extract

    of_verb = (_NAME, _SPLIT, _OVERWRITE, _BATCH, _SPEEDS, _SHIFTS, _HOP, _SHORT, _EACH, _JOIN, _DTYPE)
    settings: dict[str, Any] = {flag.name: flag.value for flag in of_verb}
    settings["share"] = processes.share()
    return extract.run(str(_CHECKPOINT.value), str(_SOURCE.value), str(_OUT.value), **settings)


if __name__ == "__main__":
    exits.run(main, devices)
