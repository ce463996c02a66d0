"""The original system (Chang et al., ICASSP 2021) as its code was released: batch 640 with LAMB, or 120 with Adam.

nafp train --config=configs/original.py --workdir=RUN --config.data.corpus=CORPUS
nafp train --config=configs/original.py:120 --workdir=RUN --config.data.corpus=CORPUS

Data: 10,000 tracks of 30 s. Budget: 100 epochs of 590,000 windows. Score: only of small budgets, as is and in an
earlier, mended form (docs/recipes.md).

The paper differs from the code. The paper has a room and then a microphone, the code one response of 600 samples. The
paper has a learning rate for each batch size, the code 1e-4.

This recipe differs from the code in four points. Offsets are drawn anew for every epoch; the code has the same ones in
each. Responses start one millisecond before their peak. The loss is half of the code's, which is a sum of two; neither
optimiser notices the factor. Validation degrades with the validation split's own noise.

Two mistakes of the code are kept. Its spectrograms subtract the maximum of the batch, so that fingerprints depend on
their batch mates. Its convolution is circular.
"""

from nafp import errors
from nafp.config import foreign, foreign_original


def get_config(batch="640"):
    if not batch.isdecimal():
        raise errors.Invalid(f"batch={batch!r}: a number of segments is needed, such as original.py:120")
    c = foreign.base("original", foreign_original.LAMB if batch == "640" else foreign_original.ADAM)
    c.train.batch_size = int(batch)
    return c
