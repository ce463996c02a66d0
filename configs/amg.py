"""AMG-Embedding's second stage (Su et al., ACM MM 2024): a transformer over up to 30 s of fingerprints, one vector out.

Batch 640, 50 epochs, Adam from 1e-3 to 1e-4: the defaults. For its LSTM: --config.model.name=lstm
--config.model.layers=8; for its convolutional network: --config.model.name=densenet.

nafp amg train --config=configs/amg.py --workdir=RUN --config.data.clips=CLIPS --config.chunk.seconds=5
"""

from nafp.sequences import settings


def get_config():
    return settings.default()
