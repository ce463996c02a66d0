"""song_mine's recipe, `trainer.py dynamic`: the benchmark's network, milder noise, Adam, 16 pairs a step.

nafp train --config=configs/song_mine.py --workdir=RUN --config.data.corpus=CORPUS

Data: the user's songs, one second of each an epoch. Budget: 200 epochs of 32 segments a step. It ends after 25
validations without a better one. The learning rate falls for 100 epochs and rises again for 100, as in song_mine.
Score: only of six CPU minutes (docs/recipes.md). A warm start is --config.train.begin_from=RUN@best.
"""

from nafp.config import foreign, foreign_benchmark


def get_config():
    c = foreign.base("benchmark", foreign_benchmark.FINGERPRINTER, foreign_benchmark.ADAM)
    c.spectrogram.front_end = "song_mine"
    c.augment.offset_probability = 0.25
    c.augment.noise.probability = 1.0
    c.augment.noise.high_db = 10.0
    c.augment.noise.weights = (1,)
    c.augment.low_pass.probability = 0.0
    c.augment.high_pass.probability = 0.0
    c.augment.cutout.high, c.augment.cutout.time_high = 0.5, 0.1
    c.augment.fill = "zeros"  # The loudest level.
    c.optimizer.learning_rate = 1e-4
    c.optimizer.final_share = 0.02
    c.train.batch_size = 32
    c.train.epochs = 200
    c.validate.patience = 25
    return c
