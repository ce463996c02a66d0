"""The small network, the one that ships: 1.5 million parameters, for phones, rooms, noise and small changes of speed.

Beyond `narrow`: noise down to -2 dB, a voice now and then, saturation as small loudspeakers have it, and replicas
played up to 1.2 % faster or slower. More than that costs short clips in noise too much (docs/recipes.md): larger
changes of speed and pitch are searched for, not learned.

The shipped weights began with those of a `narrow` run and went on twice with this, the first time for fewer steps and
with anchors masked, too:

nafp train --config=configs/narrow.py --workdir=runs/narrow --config.data.corpus=CORPUS
nafp train --config=configs/small.py --workdir=runs/first --config.data.corpus=CORPUS \
    --config.train.begin_from=runs/narrow --config.train.steps=3200 --config.optimizer.learning_rate=3e-3 \
    --config.optimizer.warmup_steps=100 --config.augment.mask_anchors=True
nafp train --config=configs/small.py --workdir=runs/small --config.data.corpus=CORPUS \
    --config.train.begin_from=runs/first
"""

from nafp import config


def get_config():
    c = config.default()
    c.model.channels = (32, 32, 64, 64, 128, 128, 256, 256)
    c.spectrogram.low_hz = 160.0
    c.augment.offset_s = 0.25
    c.augment.speed = 0.012
    c.augment.noise.low_db = -2.0
    c.augment.speech.probability = 0.1
    c.augment.room.probability = 0.8
    c.augment.microphone.probability = 0.3
    c.augment.low_pass.high_hz = 3400.0
    c.augment.high_pass.low_hz = 200.0
    c.augment.saturation.probability = 0.2
    c.augment.frequency_mask.probability = 0.3
    c.augment.mask_anchors = False  # A database is not masked either.
    c.optimizer.learning_rate = 2.5e-3
    c.optimizer.warmup_steps = 60
    c.train.batch_size = 640
    c.train.steps = 4800
    c.train.steps_per_epoch = 800
    c.checkpoint.every_steps = 100
    return c
