"""The small network for everyday use: 1.5 million parameters, trained for phones, rooms, filters and changed speed.

Beyond `narrow`: noise down to -3 dB, some speech in it, saturation as small loudspeakers have it, and replicas played
up to 6.5 % faster or slower, so that changed speed, and pitch changed by a semitone, are still recognised.

nafp train --config=configs/small.py --workdir=RUN --config.data.corpus=CORPUS
"""

from nafp import config


def get_config():
    c = config.default()
    c.model.channels = (32, 32, 64, 64, 128, 128, 256, 256)
    c.spectrogram.low_hz = 160.0
    c.augment.offset_s = 0.25
    c.augment.speed = 0.065
    c.augment.noise.low_db, c.augment.noise.high_db = -3.0, 12.0
    c.augment.speech.probability = 0.15
    c.augment.room.probability = 0.7
    c.augment.microphone.probability = 0.3
    c.augment.low_pass.high_hz = 3400.0
    c.augment.high_pass.low_hz = 200.0
    c.augment.saturation.probability = 0.25
    c.augment.frequency_mask.probability = 0.5
    c.optimizer.learning_rate = 5e-3
    c.optimizer.warmup_steps = 200
    c.train.batch_size = 2560
    c.train.steps = 4000
    c.train.steps_per_epoch = 500
    c.data.read_threads = 16
    return c
