"""The settings that travel with a network: how sound is cut, what it sees, and what it is."""

from __future__ import annotations

from typing import Any

from nafp.config import rules

FRONT_ENDS = ("nafp", "original", "pfann", "benchmark", "song_mine")
SPECTROGRAM_KINDS = ("magnitude", "power")
FLOORS = ("relative", "fixed")
WAVEFORM_NORMS = ("none", "rms", "peak")
MEL_LOGS = ("log", "log10", "none")
SPEC_NORMS = ("l2", "max")
ARCHITECTURES = ("nafp", "audsearch")
NORMS = ("layer_norm2d", "layer_norm1d", "batch_norm")
ACTIVATIONS = ("elu", "relu")
ORDERS = ("before_norm", "after_norm")
PADDINGS = ("same", "symmetric")
FORMS = ("auto", "gemm", "lax")
DTYPES = ("auto", "float32", "bfloat16")
N_BLOCKS = 8  # Convolution blocks of the published networks that `nafp` computes, each with a stride of its own.

SECTIONS: dict[str, Any] = dict(
    audio=dict(
        # Music identifies itself below 4 kHz, and phones and radio keep little more.
        sample_rate_hz=rules.whole(8000, least=1000, most=384_000),
        # Length of one fingerprint. A shorter one gives finer times and has less to hold on to.
        segment_s=rules.real(1.0, above=0, most=60),
        # From the start of one segment to the next. At half a segment a query is never more than 0.25 s off.
        hop_s=rules.real(0.5, above=0, most=60),
    ),
    spectrogram=dict(
        # Whose rules turn segments into spectrograms, see nafp.models.front_ends. nafp: ours, each segment by itself.
        # original: subtracts the maximum over the batch, so that a fingerprint depends on its batch mates; it is here
        # because networks that were trained so, in the original, expect it. benchmark and song_mine: with low_hz=0.
        front_end=rules.choice("nafp", FRONT_ENDS),
        n_fft=rules.whole(1024, least=16, most=65_536),  # Samples of one STFT frame: 128 ms at 8 kHz.
        stft_hop=rules.whole(256, least=1, most=65_536),  # Samples from frame to frame: 32 frames in a second.
        n_mels=rules.whole(256, least=1, most=4096),
        low_hz=rules.real(300.0, least=0),  # Lower edge of the mel bank. 40 finds much more in noise (docs/recipes.md).
        high_hz=rules.real(4000.0, above=0),  # Upper edge, at most half the sample rate.
        kind=rules.choice("magnitude", SPECTROGRAM_KINDS),  # magnitude: the original's; power: pfann's and librosa's.
        floor=rules.choice("relative", FLOORS),  # relative: a fraction of the segment's maximum; fixed: the original's.
        # -60 dB. Deeper lies noise in any recording of a loudspeaker.
        relative_floor=rules.real(1e-3, above=0, most=1),
        # Added to the mel magnitudes of a full-scale waveform if floor is fixed.
        fixed_floor=rules.real(0.06, above=0),
        # Whether the level of a segment is brought to 1 first, and by which measure. It gives a fixed floor a meaning.
        waveform_norm=rules.choice("none", WAVEFORM_NORMS),
        maxnorm=rules.flag(False),  # The original's melspec_maxnorm: scaled by half the minimum over the batch.
        # Keys of pfann's files. naf_mode: magnitudes with 0.06 added, on the original's mel scale, without reflection.
        naf_mode=rules.flag(False),
        mel_log=rules.choice("log", MEL_LOGS),
        # l2: brings the waveform to the norm 1. max: to the peak 1, and subtracts the maximum of the spectrogram.
        spec_norm=rules.choice("l2", SPEC_NORMS),
    ),
    model=dict(
        # nafp: the published network, and those of pfann, the benchmark and song_mine by the settings below. audsearch:
        # a residual network with attention, for channels of six blocks, such as 32,64,128,256,512,1024.
        name=rules.choice("nafp", ARCHITECTURES),
        dim=rules.whole(128, least=1, most=65_536),  # Length of a fingerprint.
        # Output channels of the blocks.
        channels=rules.wholes((128, 128, 256, 256, 512, 512, 1024, 1024), least=1, most=65_536),
        # Strides of the blocks along time. Eight of 2: pfann's and the benchmark's.
        time_strides=rules.wholes((2, 2, 2, 2, 1, 2, 1, 2), least=1, most=64),
        # Zeros around a convolution. same: TensorFlow's, at stride 2 only after the end. symmetric: the benchmark's.
        padding=rules.choice("same", PADDINGS),
        head_hidden=rules.whole(32, least=1, most=65_536),  # Units of the divide-and-encode head's hidden layer.
        head_norm=rules.flag(False),  # True: a layer norm over the hidden units (the benchmark's).
        norm=rules.choice("layer_norm2d", NORMS),  # layer_norm2d: the original's.
        # Added to the variance by the norms of the blocks. 1e-3: Keras' and the original's; 1e-5: PyTorch's.
        epsilon=rules.real(1e-3, above=0, most=1),
        activation=rules.choice("elu", ACTIVATIONS),  # elu: the original's; relu: pfann's.
        activation_order=rules.choice("before_norm", ORDERS),  # before_norm: the original's; after_norm: pfann's.
        depthwise=rules.flag(False),  # True: depthwise 3x1 convolutions, half the parameters (pfann's).
        # Form of the convolutions, with the same parameters and results. auto: gemm on a CPU, lax elsewhere.
        form=rules.choice("auto", FORMS),
        # Type to compute in; parameters stay float32. auto: float32 on a CPU, bfloat16 on an accelerator.
        dtype=rules.choice("auto", DTYPES),
    ),
)

# What depends on a choice: setting -> the choices that use it. Elsewhere it must keep its default.
USED_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "spectrogram.kind": ("spectrogram.front_end", ("nafp",)),
    "spectrogram.floor": ("spectrogram.front_end", ("nafp",)),
    "spectrogram.relative_floor": ("spectrogram.front_end", ("nafp",)),
    "spectrogram.fixed_floor": ("spectrogram.front_end", ("nafp", "original")),
    "spectrogram.waveform_norm": ("spectrogram.front_end", ("nafp",)),
    "spectrogram.maxnorm": ("spectrogram.front_end", ("original",)),
    "spectrogram.naf_mode": ("spectrogram.front_end", ("pfann",)),
    "spectrogram.mel_log": ("spectrogram.front_end", ("pfann",)),
    "spectrogram.spec_norm": ("spectrogram.front_end", ("pfann",)),
    "model.time_strides": ("model.name", ("nafp",)),
    "model.padding": ("model.name", ("nafp",)),
    "model.head_norm": ("model.name", ("nafp",)),
    "model.norm": ("model.name", ("nafp",)),
    "model.epsilon": ("model.name", ("nafp",)),
    "model.activation": ("model.name", ("nafp",)),
    "model.activation_order": ("model.name", ("nafp",)),
    "model.depthwise": ("model.name", ("nafp",)),
}


def ignored(choice: str) -> set[str]:
    """Returns the full names of the settings that a front end or an architecture does not use."""
    choosers = {"spectrogram.front_end": FRONT_ENDS, "model.name": ARCHITECTURES}
    return {name for name, (chooser, users) in USED_BY.items() if choice in choosers[chooser] and choice not in users}
