"""The narrow network for a few minutes on the recordings that ship with the repository: shows the way, not a score.

make demo
"""

from nafp import config


def get_config():
    c = config.default()
    c.model.channels = (32, 32, 64, 64, 128, 128, 256, 256)
    c.spectrogram.low_hz = 160.0  # On so little music 40 finds less, and needs 60 steps of warm-up.
    c.augment.offset_s = 0.25
    c.optimizer.learning_rate = 3e-3
    c.optimizer.warmup_steps = 20
    c.train.batch_size = 128
    c.train.steps = 400
    c.train.steps_per_epoch = 100
    c.train.minutes = 4.0
    c.checkpoint.every_steps = 50
    return c
