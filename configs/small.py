"""The small network, the one that ships: 1.5 million parameters, for phones, rooms, noise and small changes of speed.

Beyond `narrow`: noise down to -2 dB, a voice now and then, saturation as small loudspeakers have it, fewer masks, and
replicas played up to 1.2 % faster or slower. More than that costs short clips in noise too much (docs/recipes.md):
larger changes of speed and pitch are searched for, not learned.

nafp train --config=configs/small.py --workdir=runs/small --config.data.corpus=CORPUS

For an accelerator: 23 million segments, ten minutes of an H200 shared with another run. The first 3,123 steps of the
shipped weights followed the schedule of a run of 21,000. Two cores would take seven hours for as many; with
--config.train.begin_from=small a run begins with what ships. What ships went on for 1,800 steps in louder noise, voices
and other music, on two cores: docs/recipes.md has the command.
"""

from nafp import config


def get_config():
    c = config.default()
    c.model.channels = (32, 32, 64, 64, 128, 128, 256, 256)
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
    c.train.steps = 18_000
    c.train.steps_per_epoch = 1000
    c.checkpoint.every_steps = 2000
    return c
