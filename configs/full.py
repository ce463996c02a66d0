"""The full network, 16.9 million parameters, with the recipe of `small`: for machines with an accelerator.

nafp train --config=configs/full.py --workdir=RUN --config.data.corpus=CORPUS

22 million segments, 12 minutes of an H200 shared with another run.
"""

from nafp import config


def get_config():
    c = config.default()
    c.spectrogram.low_hz = 40.0
    c.augment.offset_s = 0.25
    c.augment.speed = 0.012
    c.augment.noise.low_db = -2.0
    c.augment.speech.probability = 0.1
    c.augment.room.probability = 0.9
    c.augment.microphone.probability = 0.3
    c.augment.low_pass.high_hz = 3400.0
    c.augment.high_pass.low_hz = 200.0
    c.augment.saturation.probability = 0.2
    c.augment.cutout.probability = 0.5
    c.augment.frequency_mask.probability = 0.1
    c.augment.mask_anchors = False  # A database is not masked either.
    c.optimizer.learning_rate = 3e-3
    c.optimizer.warmup_steps = 500
    c.train.batch_size = 1280
    c.train.steps = 17_000
    c.train.steps_per_epoch = 1000
    c.checkpoint.every_steps = 2000
    return c
