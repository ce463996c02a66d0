"""The original system's recipe (Chang et al., ICASSP 2021, 640_lamb.yaml), as far as its pieces are not mistakes.

Kept from it: no speech, noise at 0 to 10 dB before the response, one response after another, cut-out and frequency
mask filled with zeros, every other segment a negative, no filters, Adam's or LAMB's 1e-4. Not kept: circular
convolution, offsets that repeat every epoch, one mask for the whole batch, spectrograms normalised over the batch.

nafp train --config=configs/original.py --workdir=RUN --config.data.corpus=CORPUS
"""

from nafp import config


def get_config():
    c = config.default()
    c.spectrogram.floor = "fixed"
    c.spectrogram.waveform_norm = "peak"
    c.augment.noise_in_room = 1.0
    c.augment.room.probability = 1.0
    c.augment.microphone.probability = 1.0
    c.augment.low_pass.probability = 0.0
    c.augment.high_pass.probability = 0.0
    c.augment.fill = "zeros"
    c.loss.mask_same_track = False
    c.optimizer.final_share = 1e-6
    c.optimizer.lamb_scales = "all"
    return c
