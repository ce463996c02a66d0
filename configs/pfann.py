"""pfann's recipe, its default.json: its front end and network, offsets to one side, Adam, a shuffle in two stages.

nafp train --config=configs/pfann.py --workdir=RUN --config.data.corpus=CORPUS

Data: 10,000 tracks of 30 s. Budget: 100 epochs of 590,000 windows, 640 segments a step. Score: only of six CPU minutes
(docs/recipes.md). Its variants are one setting each, such as --config.data.shuffle_tracks=100 or
--config.augment.context_s=1 (its pad_start), and its own files are read as they are: --config=THEIRS.json.
"""

from nafp.config import foreign


def get_config():
    c = foreign.base("pfann")
    c.model.depthwise = False  # Its files say `fuller`.
    c.data.shuffle_tracks = 20_000
    for mask in (c.augment.cutout, c.augment.frequency_mask, c.augment.time_mask):
        mask.low, mask.high = 0.1, 0.5
    c.augment.microphone.seconds = 0.5
    return c
