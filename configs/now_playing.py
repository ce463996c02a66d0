"""The original system's recipe for its `now playing` loss: triplets of 64 anchors with four replicas each.

nafp train --config=configs/now_playing.py --workdir=RUN --config.data.corpus=CORPUS

Data and budget: those of `original`; each step takes 320 segments. Not measured here.

The loss has the original's numbers. Its mining is not what its name says; --config.loss.name=triplet mines as named.
"""

from nafp.config import foreign, foreign_original


def get_config():
    c = foreign.base("original", foreign_original.ADAM)
    c.augment.replicas = 4
    c.loss.name = "original_triplet"
    c.loss.mining = "semi-hard"
    c.loss.margin = 0.4
    c.train.batch_size = 320
    return c
