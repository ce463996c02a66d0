"""Fingerprints a corpus, a folder, a list or a file into a store, with a trained network.

nafp extract --checkpoint=RUN@best --source=CORPUS --name=db --out=STORE
"""

import sys
import time

from absl import app, flags

from . import devices

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "RUN, RUN@STEP, RUN@best, or an exported .npz file."
)
_SOURCE = flags.DEFINE_string(
    "source", None, "CORPUS folder, folder of audio, list (.txt, .csv), or one file."
)
_SPLIT = flags.DEFINE_string(
    "split", None, "Of a corpus or manifest, only these splits (comma between)."
)
_NAME = flags.DEFINE_string(
    "name", "db", "Name within the store: query, db, dummy_db, or your own."
)
_OUT = flags.DEFINE_string("out", None, "STORE folder.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a finished store of this name.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Segments that go through the network together.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Type the network computes in."
)
flags.mark_flags_as_required(["checkpoint", "source", "out"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}; the source goes into --source=")
    devices.prepare()
    from nafp import extract, trained

    try:
        network, identity = trained.open_extractor(
            _CHECKPOINT.value, batch_size=_BATCH.value, dtype=_DTYPE.value
        )
        began = time.monotonic()
        report = extract.extract(
            network,
            _SOURCE.value,
            _OUT.value,
            name=_NAME.value,
            identity=identity,
            split=_SPLIT.value,
            overwrite=_OVERWRITE.value,
        )
    except (ValueError, FileNotFoundError, FileExistsError, BlockingIOError) as error:
        sys.exit(f"nafp extract: {error}")
    print(extract.describe(report, _OUT.value, _NAME.value, wall_s=time.monotonic() - began))


if __name__ == "__main__":
    app.run(main)
