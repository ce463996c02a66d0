"""The narrow network: the same skeleton with a quarter of the channels, 1.5 million parameters, for CPUs.

About a tenth of the full network's work. LAMB at 3e-3 because few steps are all a CPU gets.

nafp train --config=configs/narrow.py --workdir=RUN --config.data.corpus=CORPUS
"""

from nafp import config


def get_config():
    c = config.default()
    c.model.channels = (32, 32, 64, 64, 128, 128, 256, 256)
    c.spectrogram.low_hz = 40.0
    c.augment.offset_s = 0.25
    c.augment.room.probability = 0.8
    c.augment.microphone.probability = 0.3
    c.augment.low_pass.high_hz = 3400.0
    c.augment.high_pass.low_hz = 200.0
    c.augment.frequency_mask.probability = 0.3
    c.optimizer.learning_rate = 3e-3
    c.optimizer.warmup_steps = 60
    c.train.batch_size = 320
    c.train.steps = 2600
    c.checkpoint.every_steps = 200
    c.validate.every_epochs = 1
    c.train.steps_per_epoch = 200
    return c
