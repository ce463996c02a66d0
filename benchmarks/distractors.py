"""Measures how the hit rate falls with the number of fingerprints, up to billions, in little memory.

python -m benchmarks.distractors --store=STORE --truth=queries/expected.csv --rows=1000000,100000000 --out=FILE
    [--coded] [--step=8] [--rendered=STORE] [--work=FILE]

The real fingerprints of STORE come first. --rendered adds recordings that were changed in speed, the stores db@SPEED of
another folder, of recordings that no clip was cut from:

nafp extract --checkpoint=small --source=MANIFEST.csv --split=train --speeds=0.89 --name=db --out=RENDERED

All others are mixtures 0.8 a + 0.6 b of two of these, brought to length 1. The pairs (a, b) of consecutive mixtures are
consecutive fingerprints, so that mixtures follow each other as fingerprints of a track do. Of each fingerprint asked
for, the 100 nearest are kept.

The cosine of a query row to a mixture follows from those to a and b. So one product with the real rows serves all
mixtures, and only pairs of which one is near enough are looked at. The search is exact, but for pairs whose cosine is
below -0.45: these are looked at as if it were -0.45. There was none in 384,642 pairs.

--coded makes the mixtures in blocks, codes them in 4 bits for each two dimensions, as an index file does, and searches
the codes. That takes a hundred times as long. One codebook serves all sizes.

A clip that is not found at 3 s among fewer rows is asked at 1 s alone among more, and not at all if it is not found at
1 s either. --work keeps what was found, and the same command goes on from there.
"""

import json
import os
import pathlib
from typing import Any

import numpy as np
from absl import flags

from benchmarks import _distractors, _ends, _result
from evaluation.scores import results
from nafp.search import collection, store

_STORE = flags.DEFINE_string("store", None, "The folder with the stores db and query. Required.", required=True)
_TRUTH = flags.DEFINE_string("truth", None, "The CSV that says where queries were cut from. Required.", required=True)
_ROWS = flags.DEFINE_list("rows", ["1000000"], "Numbers of rows to measure beyond the real ones. Default: 1,000,000.")
_RENDERED = flags.DEFINE_string("rendered", None, "A folder with stores db@SPEED of changed recordings. Default: none.")
_CODED = flags.DEFINE_bool("coded", False, "Search 4-bit codes. Default: exact.")
_STEP = flags.DEFINE_integer("step", 8, "Every which place is asked for, in all its conditions. Default: 8.")
_WORK = flags.DEFINE_string("work", None, "A file to go on from. Default: begin anew.")
_OUT = flags.DEFINE_string("out", None, "The JSON file to write. Required.", required=True)


def main() -> None:
    real = collection.Collection.of([store.Store.open(_STORE.value, "db")])
    wanted = {len(real), *map(int, _ROWS.value)}
    for path in sorted(pathlib.Path(_RENDERED.value or os.devnull).glob("db@*.json")):
        changed = collection.Collection.of([store.Store.open(path.parent, path.stem)])
        real = _distractors.joined(real, changed)
        wanted.add(len(real))
    sizes = sorted(wanted)
    copies = -(-sizes[-1] // len(real))
    # The numbers do not depend on how many are drawn after them.
    shifts = np.random.default_rng(0).integers(len(real) // 20, len(real) - len(real) // 20, max(copies, 1))
    clips = _distractors.read_clips(_STORE.value, _TRUTH.value, step=_STEP.value)
    lines = _distractors.measured(real, shifts, sizes, clips, coded=_CODED.value, work=_WORK.value)
    numbers: dict[str, Any] = {"machine": results.machine(), "clips": len(clips), "real": len(real), "sizes": []}
    for line in lines:
        numbers["sizes"].append(line)
        print(json.dumps(line), flush=True)
        _result.write(numbers | {"fall_per_tenfold": _distractors.fall(numbers["sizes"])}, _OUT.value)


if __name__ == "__main__":
    _ends.run(main)
