"""The small network, the one that ships: 1.5 million parameters, for phones, rooms, noise and small changes of speed.

Beyond `narrow`: noise down to -2 dB, a voice now and then, saturation as small loudspeakers have it, and replicas
played up to 1.2 % faster or slower. More than that costs short clips in noise too much (docs/recipes.md): larger
changes of speed and pitch are searched for, not learned.

The shipped weights began with those of a `narrow` run and went on four times. The first two runs cut a part out of
every replica and heard fewer rooms; nothing was being learned by heart (docs/recipes.md), so the later ones mask less.
In all but the last one, which this is, LAMB kept the biases at zero. The first 1,218 steps of the third followed the
schedule of a run of 4,000.

L=--config.optimizer.lamb_scales=all
nafp train --config=configs/narrow.py --workdir=runs/narrow --config.data.corpus=CORPUS $L
M="--config.augment.cutout.probability=1.0 --config.augment.frequency_mask.probability=0.3 \
   --config.augment.room.probability=0.8"
nafp train --config=configs/small.py --workdir=runs/first --config.data.corpus=CORPUS $L $M \
    --config.train.begin_from=runs/narrow --config.train.steps=3200 --config.optimizer.learning_rate=3e-3 \
    --config.optimizer.warmup_steps=100 --config.augment.mask_anchors=True
nafp train --config=configs/small.py --workdir=runs/second --config.data.corpus=CORPUS $L $M \
    --config.train.begin_from=runs/first --config.train.steps=4800 --config.optimizer.learning_rate=2.5e-3
nafp train --config=configs/small.py --workdir=runs/third --config.data.corpus=CORPUS $L \
    --config.train.begin_from=runs/second --config.train.steps=6400 --config.seed=2
nafp train --config=configs/small.py --workdir=runs/small --config.data.corpus=CORPUS \
    --config.train.begin_from=runs/third --config.seed=4
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
    c.augment.room.probability = 0.9
    c.augment.microphone.probability = 0.3
    c.augment.low_pass.high_hz = 3400.0
    c.augment.high_pass.low_hz = 200.0
    c.augment.saturation.probability = 0.2
    c.augment.cutout.probability = 0.5
    c.augment.frequency_mask.probability = 0.1
    c.augment.mask_anchors = False  # A database is not masked either.
    c.optimizer.learning_rate = 1.5e-3
    c.optimizer.warmup_steps = 60
    c.train.batch_size = 640
    c.train.steps = 4700
    c.train.steps_per_epoch = 1000
    c.checkpoint.every_steps = 100
    return c
