"""The benchmark system's recipe (Real-World Evaluation Protocol, 2025), with its cut-off filters or without them.

nafp train --config=configs/benchmark.py --workdir=RUN --config.data.corpus=CORPUS
nafp train --config=configs/benchmark.py:no_cut_off --workdir=RUN --config.data.corpus=CORPUS

Data: 100,000 tracks, one second of each an epoch. Budget: 120 epochs, 256 originals and as many replicas a step. It
ends after 30 validations without a better one. The learning rate falls for 100 epochs and rises in the last 20, as in
the benchmark.
Score: only of six CPU minutes (docs/recipes.md). Its own files are read as they are: --config=THEIRS.json.
"""

from nafp.config import foreign, foreign_benchmark
from nafp.jobs import choices


def get_config(filters="cut_off"):
    choices.require("filters", filters, ("cut_off", "no_cut_off"))
    rates = foreign_benchmark.rates(1e-3, originals=256)
    c = foreign.base("benchmark", foreign_benchmark.FINGERPRINTER, foreign_benchmark.LAMB, rates)
    for kind in (c.augment.low_pass, c.augment.high_pass):
        kind.probability = 0.4 if filters == "cut_off" else 0.0
    c.augment.cutout.high, c.augment.cutout.time_high = 0.5, 0.1
    c.augment.fill_low = c.augment.fill_high = -80.0
    c.train.batch_size = 512
    c.train.epochs = 120
    c.validate.patience = 30
    return c
