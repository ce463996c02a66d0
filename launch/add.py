"""Puts recordings into a database, which is made if it is not there. Stopped at any time, the same command goes on.

nafp add DB music/ more/*.flac list.txt

AUDIO: files, folders, lists of paths (.txt .m3u .csv, whose further columns become metadata), patterns ("**/*.mp3"),
or - for paths from standard input.
"""

import importlib.util
import time

from absl import flags

from . import devices, exits

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Network of a new database: small, RUN, RUN@best, exported file. [small]"
)
_STORAGE = flags.DEFINE_string(
    "storage",
    None,
    "Of a new database's fingerprints: float32 float16 int8 int4 pq2 pq1. [float16]",
)
_HOP = flags.DEFINE_float("hop_s", None, "Between a new database's fingerprints. [the network's]")
_TAG = flags.DEFINE_multi_string("tag", [], "KEY=VALUE: metadata for all these; may be repeated.")
_RUNTIME = flags.DEFINE_enum("runtime", "auto", ["auto", "jax", "numpy"], "Computes the network.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Segments at once; 0: what suits.", 0)
_THREADS = flags.DEFINE_integer("threads", 0, "Files decoded at once; 0: one a processor.", 0)


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise exits.wrong("name a database and what to put into it: nafp add DB AUDIO...")
    from nafp.audio import decode
    from nafp.database import from_audio

    if _RUNTIME.value != "numpy" and importlib.util.find_spec("jax"):
        devices.prepare(cpu_shares=devices.cores())
    began, folder, audio = time.monotonic(), argv[1], from_audio.matching(argv[2:])
    opened = from_audio.open_or_create(folder, checkpoint=_CHECKPOINT.value, storage=_STORAGE.value, hop_s=_HOP.value)
    settings = dict(runtime=_RUNTIME.value, batch_size=_BATCH.value, threads=_THREADS.value or None)
    with decode.hushed():  # Decoders write remarks past Python.
        report = from_audio.add(opened, audio, metadata=from_audio.parsed(_TAG.value), **settings)
    print(from_audio.describe(report, folder, n_tracks=len(opened), wall_s=time.monotonic() - began))
    return 0 if report.added or report.unchanged or report.known else 1


if __name__ == "__main__":
    exits.run(main)
