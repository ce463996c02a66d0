"""The full network, the recipe of nafp/config as it stands: batch 640, LAMB, 100 epochs.

nafp train --config=configs/default.py --workdir=RUN --config.data.corpus=CORPUS
"""

from nafp import config


def get_config():
    return config.default()
