"""The benchmark system's recipe for audsearch, its residual network with attention: 20 million parameters.

nafp train --config=configs/audsearch.py --workdir=RUN --config.data.corpus=CORPUS

Data: 100,000 tracks, one second of each an epoch. Budget: 120 epochs, 256 originals and as many replicas a step. It
ends after 30 validations without a better one. A step computes several times as much as one of `benchmark`. Not
measured here. --config.loss.name=angular trains it with the system's other loss.
"""

from nafp.config import foreign, foreign_benchmark


def get_config():
    rates = foreign_benchmark.rates(1e-3, originals=256)
    c = foreign.base("benchmark", foreign_benchmark.AUDSEARCH, foreign_benchmark.LAMB, rates)
    c.augment.low_pass.probability = c.augment.high_pass.probability = 0.4
    c.augment.cutout.high, c.augment.cutout.time_high = 0.5, 0.1
    c.augment.fill_low = c.augment.fill_high = -80.0
    c.train.batch_size = 512
    c.train.epochs = 120
    c.validate.patience = 30
    return c
