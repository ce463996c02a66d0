"""Puts recordings into a database, which is made if it is missing. Stopped at any time, the same command goes on.

nafp add DB music/ more/*.flac list.txt

AUDIO: files, folders, lists of paths (.txt .m3u .csv, whose further columns become metadata), patterns ("**/*.mp3"),
or - for paths from standard input.

Exit code: 0 if a recording was added or known, 1 if none gave a track, 2 for an error.
"""

from absl import flags

from . import devices, exits

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The network of a new database: small, RUN, RUN@best or an exported file. Left out: small."
)
_STORAGE = flags.DEFINE_string(
    "storage",
    None,
    "How a new database stores fingerprints: float32, float16, int8, int4, pq2 or pq1. Left out: pq2.",
)
_HOP = flags.DEFINE_float(
    "hop_s", None, "Seconds between the fingerprints of a new database. Left out: the hop of the network."
)
_PEAKS = flags.DEFINE_bool(
    "peaks", None, "Keep spectral peaks in a new database: 64 bytes a second, for clips with other sound in them."
)
_TAG = flags.DEFINE_multi_string(
    "tag", [], "KEY=VALUE: metadata for all recordings of this call. May be given several times."
)
_RUNTIME = flags.DEFINE_enum("runtime", "auto", ["auto", "jax", "numpy", "onnx"], "What computes the network.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Segments that the network takes at once. 0: what suits the device.", 0)
_THREADS = flags.DEFINE_integer("threads", 0, "Files to decode at once. 0: one for each processor.", 0)


def main(argv: list[str]) -> int:
    if len(argv) < 3:
        raise exits.wrong("name a database and what to put into it: nafp add DB AUDIO...")
    from nafp.verbs import add

    return add.run(
        argv[1],
        argv[2:],
        checkpoint=_CHECKPOINT.value,
        storage=_STORAGE.value,
        hop_s=_HOP.value,
        peaks=_PEAKS.value,
        tags=_TAG.value,
        runtime=_RUNTIME.value,
        batch_size=_BATCH.value,
        threads=_THREADS.value or None,
        prepare=lambda: devices.prepare(cpu_shares=devices.cores()),
    )


if __name__ == "__main__":
    exits.run(main)
