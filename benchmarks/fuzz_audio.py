"""Decodes damaged audio files of every format, and counts what became of them.

python -m benchmarks.fuzz_audio [--count=10000] [--first=0] [--seed=0] [--jobs=2] [--tally=FILE.json] [--keep=FOLDER]
                                [--seconds=600] [--pyav]

Each case is a file of three seconds with one to four damages, drawn from (seed, number of the case). A case that is
wrong, hung, crashed or silently lost is printed with its number, and its file is kept under --keep. --tally adds the
counts to those of earlier calls, so that 10,000 cases may be run in pieces; --seconds ends a piece in time and says
which case is next. Exit code 1 if there is such a case.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import time

from absl import flags

from benchmarks import _ends, _mutations, _verdicts
from launch import exits
from nafp.audio import containers

_COUNT = flags.DEFINE_integer("count", 10_000, "Damaged files to decode.")
_FIRST = flags.DEFINE_integer("first", 0, "Number of the first case.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the damage.")
_JOBS = flags.DEFINE_integer("jobs", 2, "Processes.")
_TALLY = flags.DEFINE_string("tally", None, "A JSON file whose counts are added to.")
_SECONDS = flags.DEFINE_float("seconds", 0.0, "End after about so many seconds; 0 for the end of the count.")
_PYAV = flags.DEFINE_bool("pyav", False, "Decode with PyAV what needs ffmpeg, as where the program is missing.")
_KEEP = flags.DEFINE_string("keep", None, "A folder for the files of bad cases.")


def main() -> None:
    """Runs the cases, prints the table, and exits with 1 if one is bad."""
    file = pathlib.Path(_TALLY.value) if _TALLY.value else None
    counts: dict[str, dict[str, int]] = json.loads(file.read_text()) if file and file.exists() else {}
    n_bad, began_s = 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        seeds = _mutations.seeds(pathlib.Path(temporary), _verdicts.tune())
        if _PYAV.value:
            os.environ["PATH"] = ""  # Where ffmpeg is not found.
            if not containers.installed():
                raise exits.wrong(f"--pyav needs PyAV: {containers.HOW_TO_GET_IT}")
        chosen = _verdicts.cases(seeds, count=_COUNT.value, first=_FIRST.value, seed=_SEED.value)
        for case, verdict in _verdicts.verdicts(chosen, jobs=_JOBS.value):
            name = pathlib.Path(case.path).name
            kinds = counts.setdefault(name, {})
            kinds[verdict.kind] = kinds.get(verdict.kind, 0) + 1
            if verdict.kind in _verdicts.BAD:
                n_bad += 1
                print(f"{verdict.kind}: case {case.number} ({name}, {case.data[1]}): {verdict.why}", flush=True)
                if _KEEP.value:
                    _keep(case, name)
            if _SECONDS.value and time.monotonic() - began_s > _SECONDS.value:
                print(f"next: --first={case.number + 1}")
                break
    if file:
        file.write_text(json.dumps(counts, indent=1))
    print(_verdicts.table(counts))
    sys.exit(bool(n_bad))


def _keep(case: _verdicts.Case, name: str) -> None:
    folder = pathlib.Path(_KEEP.value or ".")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(case.path, folder / f"whole-{name}")
    (folder / f"{case.number}-{name}").write_bytes(case.data[0])


if __name__ == "__main__":
    _ends.run(main)
