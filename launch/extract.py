"""Fingerprints a corpus, a folder, a list or a file into a store, with a trained network.

nafp extract --checkpoint=RUN@best --source=CORPUS --name=db --out=STORE
"""

import contextlib
import time

from absl import flags

from . import devices, exits

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "RUN, RUN@STEP, RUN@best, or an exported .npz file.")
_SOURCE = flags.DEFINE_string("source", None, "CORPUS folder, folder of audio, list (.txt, .csv), or one file.")
_SPLIT = flags.DEFINE_string("split", None, "Of a corpus or manifest, only these, comma between.")
_NAME = flags.DEFINE_string("name", "db", "Name within the store: query, db, dummy_db, ...")
_OUT = flags.DEFINE_string("out", None, "STORE folder.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a finished store of this name.")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Segments that go through the network together; 0: what suits the devices.", 0
)
_SPEEDS = flags.DEFINE_list("speeds", ["1"], "Of queries: speeds undone, a store each: query, query@0.97 ...; or auto.")
_SHIFTS = flags.DEFINE_integer("shifts", 1, "Of queries: rows for each one of a database.", 1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Type the network computes in.")
flags.mark_flags_as_required(["checkpoint", "source", "out"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; the source goes into --source=")
    devices.prepare(cpu_shares=devices.cores())
    import jax

    from nafp.audio import decode
    from nafp.fingerprints import extract
    from nafp.weights import sources

    network = sources.open_extractor(_CHECKPOINT.value, batch_size=_BATCH.value, dtype=_DTYPE.value)
    began, out, name = time.monotonic(), _OUT.value, _NAME.value
    store = dict(split=_SPLIT.value, overwrite=_OVERWRITE.value, shifts=_SHIFTS.value)
    store |= dict(speeds=_SPEEDS.value, name=name)
    # Decoders write remarks past Python; so does what says that another process died, and that must be seen.
    with decode.hushed() if jax.process_count() == 1 else contextlib.nullcontext():
        for name, report in extract.at_speeds(network, _SOURCE.value, out, **store):
            if jax.process_index() == 0:
                print(extract.describe(report, out, name, wall_s=time.monotonic() - began))
            began = time.monotonic()


if __name__ == "__main__":
    exits.run(main, devices)
