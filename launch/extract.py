"""Fingerprints a corpus, a folder, a list or a file into a store, with a trained network.

nafp extract --checkpoint=RUN@best --source=CORPUS --name=db --out=STORE
"""

import contextlib
import time

from absl import flags

from . import devices, exits, words

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
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Number type in which the network computes.")


def main(argv: list[str]) -> None:
    words.require_none(argv, "the source goes into --source=")
    devices.prepare(cpu_shares=devices.cores())
    import jax

    from nafp.audio import decode
    from nafp.fingerprints import extract
    from nafp.weights import sources

    network = sources.open_extractor(_CHECKPOINT.value, batch_size=_BATCH.value, dtype=_DTYPE.value)
    speeds, split, anew, shifts = _SPEEDS.value, _SPLIT.value, _OVERWRITE.value, _SHIFTS.value
    began, out = time.monotonic(), _OUT.value
    # Decoders print past Python. So does jax.distributed when another process dies, and that must be seen.
    with decode.hushed() if jax.process_count() == 1 else contextlib.nullcontext():
        for name, report in extract.at_speeds(
            network, _SOURCE.value, out, name=_NAME.value, speeds=speeds, split=split, overwrite=anew, shifts=shifts
        ):
            if jax.process_index() == 0:
                print(extract.describe(report, out, name, wall_s=time.monotonic() - began))
            began = time.monotonic()


if __name__ == "__main__":
    exits.run(main, devices)
