"""The full network for one hour of a CPU: the recipe of `narrow` in fewer, smaller batches.

nafp train --config=configs/hour.py --workdir=RUN --config.data.corpus=CORPUS
"""

from nafp import config


def get_config():
    c = config.default()
    c.spectrogram.low_hz = 40.0
    c.augment.offset_s = 0.25
    c.augment.room.probability = 0.8
    c.augment.microphone.probability = 0.3
    c.augment.low_pass.high_hz = 3400.0
    c.augment.high_pass.low_hz = 200.0
    c.augment.frequency_mask.probability = 0.3
    c.optimizer.learning_rate = 3e-3
    c.optimizer.warmup_steps = 40
    c.train.batch_size = 192
    c.train.steps = 520
    c.checkpoint.every_steps = 50
    c.train.steps_per_epoch = 130
    return c
