"""Every setting of the package, once: its default, what is allowed, its unit and its reason.

`configs/*.py` are short diffs of `default()`. Values follow the original system (Chang et al., ICASSP 2021) unless the
comment says why not. Library functions below the doors take plain keywords and never see a configuration.
"""

from __future__ import annotations

import functools
import json
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_collections

from nafp import errors
from nafp.jobs import choices

SPECTROGRAM_KINDS = ("magnitude", "power")
FLOORS = ("relative", "fixed")
WAVEFORM_NORMS = ("none", "rms", "peak")
ARCHITECTURES = ("nafp",)
NORMS = ("layer_norm2d", "layer_norm1d", "batch_norm")
ACTIVATIONS = ("elu", "relu")
ORDERS = ("before_norm", "after_norm")
FORMS = ("auto", "gemm", "lax")
DTYPES = ("auto", "float32", "bfloat16")
PLACES = ("auto", "yes", "no")
FILLS = ("zeros", "min", "mean", "random", "range")
LOSSES = ("nt_xent",)
OPTIMIZERS = ("lamb", "adam")
LAMB_SCALES = ("kernels", "all")
SCHEDULES = ("cosine", "cosine_restarts", "constant")
SILENCE_DB = -60.0  # Quieter than this is a fade's end, a gap, or room tone.
N_BLOCKS = 8  # Convolution blocks of an encoder.


class Setting(NamedTuple):
    """A default, and what may stand in its place.

    allowed: in words, to follow "must be". accepts: whether a value is allowed. choices: the words to choose from.
    """

    default: Any
    allowed: str
    accepts: Callable[[Any], bool]
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises errors.Invalid with the name, the value and what is allowed, unless the value is."""
        if self.choices:
            choices.require(name, value, self.choices)
        if not self.accepts(value):
            raise errors.Invalid(f"{name}={value!r}: must be {self.allowed}.")


def _choice(default: str, among: tuple[str, ...]) -> Setting:
    return Setting(default, f"one of {', '.join(among)}", among.__contains__, among)


def _flag(default: bool) -> Setting:
    return Setting(default, "True or False", lambda value: isinstance(value, bool))


def _text(default: str) -> Setting:
    return Setting(default, "one line of text", lambda value: isinstance(value, str) and value.isprintable())


def _real(default: float, **limits: float) -> Setting:
    """Allows finite numbers. limits: least and most are allowed themselves, above and below are not."""
    return Setting(default, f"a number{_range(**limits)}", lambda value: _is_real(value) and _within(value, **limits))


def _whole(default: int, **limits: float) -> Setting:
    return Setting(default, f"a whole number{_range(**limits)}", lambda value: _is_whole(value, **limits))


def _wholes(default: tuple[int, ...], *, count: int = 0, **limits: float) -> Setting:
    """Allows a list of whole numbers. count: its length. 0 allows any but an empty list."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, (tuple, list)) or len(value) != (count or max(1, len(value))):
            return False
        return all(_is_whole(entry, **limits) for entry in value)

    return Setting(default, f"{count or 'one or more'} whole numbers{_range(**limits)}", accepts)


def _share(default: float) -> Setting:
    return _real(default, least=0, most=1)


def _db(default: float) -> Setting:
    return _real(default, least=-120, most=120)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any, **limits: float) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and _within(value, **limits)


def _within(
    value: Any, *, least: float = -math.inf, most: float = math.inf, above: float = -math.inf, below: float = math.inf
) -> bool:
    return bool(least <= value <= most and above < value < below)


def _range(**limits: float) -> str:
    """Returns the limits in words, to follow "a number"."""
    if "least" in limits and "most" in limits:
        return f" from {limits['least']:.10g} to {limits['most']:.10g}"
    words = {"least": "of at least", "above": "above", "most": "at most", "below": "below"}
    parts = [f"{word} {limits[name]:.10g}" for name, word in words.items() if name in limits]
    return f" {' and '.join(parts)}" if parts else ""


def _noise(*, probability: float) -> dict[str, Setting]:
    """Describes added noise. Its signal-to-noise ratio is uniform between low_db and high_db."""
    return dict(probability=_share(probability), low_db=_db(0.0), high_db=_db(10.0))


def _response(*, probability: float, seconds: float) -> dict[str, Setting]:
    """Describes responses. seconds: how much of each is kept. The peak is 1 ms from its start."""
    return dict(probability=_share(probability), seconds=_real(seconds, above=0.001, most=60))


def _filter(*, probability: float, low_hz: float, high_hz: float) -> dict[str, Setting]:
    """Describes a filter. Its cut-off (-3 dB) and its slope beyond (dB per octave) are uniform between low and high."""
    edges = dict(low_hz=_real(low_hz, above=0), high_hz=_real(high_hz, above=0))
    return dict(
        probability=_share(probability), **edges, low_slope=_real(12.0, above=0), high_slope=_real(36.0, above=0)
    )


def _mask(*, probability: float, low: float, high: float) -> dict[str, Setting]:
    """Describes a mask. Its size, as a share of the axis, is uniform between low and high."""
    return dict(probability=_share(probability), low=_share(low), high=_share(high))


_SECTIONS: dict[str, Any] = dict(
    # Everything random follows from it: parameters, order, offsets, noise, masks.
    seed=_whole(0, least=0, most=2**32 - 1),
    audio=dict(
        # Music identifies itself below 4 kHz, and phones and radio keep little more.
        sample_rate_hz=_whole(8000, least=1000, most=384_000),
        # Length of one fingerprint. A shorter one gives finer times and has less to hold on to.
        segment_s=_real(1.0, above=0, most=60),
        # From the start of one segment to the next. At half a segment a query is never more than 0.25 s off.
        hop_s=_real(0.5, above=0, most=60),
    ),
    spectrogram=dict(
        n_fft=_whole(1024, least=16, most=65_536),  # Samples of one STFT frame: 128 ms at 8 kHz.
        stft_hop=_whole(256, least=1, most=65_536),  # Samples from frame to frame: 32 frames in a second.
        n_mels=_whole(256, least=1, most=4096),
        low_hz=_real(300.0, least=0),  # Lower edge of the mel bank. 40 finds much more in noise (docs/recipes.md).
        high_hz=_real(4000.0, above=0),  # Upper edge, at most half the sample rate.
        kind=_choice("magnitude", SPECTROGRAM_KINDS),  # magnitude: the original's; power: pfann's and librosa's.
        floor=_choice("relative", FLOORS),  # relative: a fraction of the segment's maximum; fixed: the original's.
        relative_floor=_real(1e-3, above=0, most=1),  # -60 dB. Deeper lies noise in any recording of a loudspeaker.
        fixed_floor=_real(0.06, above=0),  # Added to the mel magnitudes of a full-scale waveform if floor is fixed.
        waveform_norm=_choice("none", WAVEFORM_NORMS),  # Level brought to 1 first, so that a fixed floor has a meaning.
    ),
    model=dict(
        name=_choice("nafp", ARCHITECTURES),
        dim=_whole(128, least=1, most=65_536),  # Length of a fingerprint.
        # Output channels of the blocks.
        channels=_wholes((128, 128, 256, 256, 512, 512, 1024, 1024), count=N_BLOCKS, least=1, most=65_536),
        head_hidden=_whole(32, least=1, most=65_536),  # Units of the divide-and-encode head's hidden layer.
        norm=_choice("layer_norm2d", NORMS),  # layer_norm2d: the original's.
        activation=_choice("elu", ACTIVATIONS),  # elu: the original's; relu: pfann's.
        activation_order=_choice("before_norm", ORDERS),  # before_norm: the original's; after_norm: pfann's.
        depthwise=_flag(False),  # True: depthwise 3x1 convolutions, half the parameters (pfann's).
        # Form of the convolutions, with the same parameters and results. auto: gemm on a CPU, lax elsewhere.
        form=_choice("auto", FORMS),
        # Type to compute in; parameters stay float32. auto: float32 on a CPU, bfloat16 on an accelerator.
        dtype=_choice("auto", DTYPES),
    ),
    data=dict(
        corpus=_text(""),  # Folder written by `nafp corpus build`: music, and perhaps noise and responses.
        # Folder written by `nafp queries pairs`. Replicas are then cut from its degraded versions, drawn anew for each
        # window and epoch, and no noise, room or filter is added. A corpus, if given as well, only validates.
        pairs=_text(""),
        noise_corpus=_text(""),  # Corpus with noise, speech and responses. Empty: the one above.
        train_split=_text("train"),
        val_split=_text("val"),
        noise_split=_text("train"),  # Split of the noise, speech and responses used in training.
        val_noise_split=_text("val"),  # The same for validation. Falls back to noise_split if it has none.
        silence_db=_db(SILENCE_DB),  # Windows below this RMS level (dB of full scale) are not trained on.
        noise_silence_db=_db(SILENCE_DB),
        # Where the recordings lie. yes: in the accelerator's memory, 58 MB an hour at 8 kHz, and hosts send numbers.
        # no: hosts read and send every clip. auto: on an accelerator if they fit into a quarter of its memory.
        # The two ways draw noise by different random numbers.
        on_device=_choice("auto", PLACES),
        read_threads=_whole(4, least=1, most=1024),  # Threads reading windows. Processes cost 2 to 7 times the CPU.
        prefetch=_whole(8, least=0, most=65_536),  # Batches read ahead.
        fraction=_real(1.0, above=0, most=1),  # Share of the training tracks used, for quick comparisons.
    ),
    augment=dict(
        enabled=_flag(True),
        # An anchor is moved off its grid, and a replica off its anchor, by up to this much either way.
        offset_s=_real(0.2, least=0, most=60),
        context_s=_real(1.0, least=0, most=60),  # Audio before the segment that feeds the reverb tail.
        speed=_real(0.0, least=0, most=0.5),  # Replicas play faster or slower by up to this share: 0.05 is 5 %.
        noise=_noise(probability=1.0),
        speech=_noise(probability=0.0),  # Off in the original too.
        noise_in_room=_share(0.5),  # Probability that noise is mixed in before the room and shares its response.
        gain=dict(probability=_share(1.0), low_db=_db(-20.0), high_db=_db(0.0)),
        room=_response(probability=0.8, seconds=1.0),
        microphone=_response(probability=0.5, seconds=0.25),
        # Probability, band and slopes of the benchmark system's cut-off filters.
        low_pass=_filter(probability=0.4, low_hz=2000.0, high_hz=3000.0),
        high_pass=_filter(probability=0.4, low_hz=500.0, high_hz=1000.0),
        saturation=dict(probability=_share(0.0), low_db=_db(0.0), high_db=_db(12.0)),
        # Shares of the spectrogram's W x H: the original's cut-out is W/10 to W/2.5 by H/10 to H/2.5.
        cutout=_mask(probability=1.0, low=0.1, high=0.4),
        frequency_mask=_mask(probability=1.0, low=5 / 256, high=20 / 256),  # 5 to 19 of 256 bins.
        time_mask=_mask(probability=0.0, low=5 / 32, high=16 / 32),  # 5 to 15 of 32 frames.
        fill=_choice("min", FILLS),  # What masks are filled with. range: noise between fill_low and fill_high.
        fill_low=_real(0.0, least=-1000, most=1000),
        fill_high=_real(1.0, least=-1000, most=1000),
        mask_anchors=_flag(True),  # The original masks both sides.
    ),
    loss=dict(
        name=_choice("nt_xent", LOSSES),
        temperature=_real(0.05, above=0),
        mask_same_track=_flag(True),  # Windows of one track are no negatives of each other: music repeats.
        # Anchors of earlier steps, of other tracks, that serve replicas as further negatives.
        memory=_whole(0, least=0),
    ),
    optimizer=dict(
        name=_choice("lamb", OPTIMIZERS),  # lamb: the original's above batch 240.
        # Which parameters' steps LAMB scales with their size. kernels: all others take Adam's steps. all: the
        # original's; what begins at zero, as every bias does, then hardly leaves it (docs/recipes.md).
        lamb_scales=_choice("kernels", LAMB_SCALES),
        learning_rate=_real(1e-4, least=0),
        scale_with_batch=_flag(False),  # True: learning_rate x batch_size / 640, the original's rule.
        schedule=_choice("cosine", SCHEDULES),
        warmup_steps=_whole(0, least=0),
        final_share=_share(1e-2),  # Learning rate at the end, as a share of the peak.
        restart_share=_real(0.1, above=0, most=1),  # First period of cosine_restarts, of all steps; then twice each.
        weight_decay=_real(1e-6, least=0),
        b1=_real(0.9, least=0, below=1),
        b2=_real(0.999, least=0, below=1),
        eps=_real(1e-6, above=0),
    ),
    train=dict(
        batch_size=_whole(640, least=4),  # Segments in the global batch, half anchors and half replicas.
        # Segments per device at once; the gradient is that of the whole batch. 0: all.
        micro_batch=_whole(0, least=0),
        # On a CPU: shares of the batch that run side by side, as on that many devices. 0: one for each core. On two
        # cores two shares train 1.5 times as fast as one share whose operations are cut in two.
        cpu_shares=_whole(0, least=0, most=4096),
        epochs=_whole(100, least=1),
        steps=_whole(0, least=0),  # The run ends after this many steps, whatever epochs says. 0: epochs decide.
        steps_per_epoch=_whole(0, least=0),  # 0: every window of the corpus once.
        # Trained network whose parameters a new run begins with: RUN@best, a file, or a shipped name. Empty: random.
        begin_from=_text(""),
        minutes=_real(0.0, least=0),  # The run ends, saved and resumable, after this much wall time. 0: no limit.
        log_every=_whole(10, least=1),  # Steps.
    ),
    validate=dict(
        every_epochs=_whole(1, least=0),  # 0: never.
        tracks=_whole(50, least=1),  # Tracks of the validation split, up to 30 s of each: the original's mini-search.
        lengths=_wholes((1, 3, 5, 9, 11, 19), least=1),  # Lengths of the queries, in segments.
        patience=_whole(0, least=0),  # The run ends after this many validations without a better one. 0: never.
    ),
    checkpoint=dict(
        every_steps=_whole(500, least=1),
        keep=_whole(3, least=1),  # Latest ones. The best one is kept as well.
        keep_every_steps=_whole(0, least=0),  # One in this many steps is kept for ever. 0: none.
    ),
)


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Setting]]:
    for key, entry in tree.items():
        if isinstance(entry, Setting):
            yield above + key, entry
        else:
            yield from _flat(entry, f"{above}{key}.")


SETTINGS: dict[str, Setting] = dict(_flat(_SECTIONS))  # By full name: "audio.segment_s".


def default() -> ml_collections.ConfigDict:
    """Returns the full configuration, locked: an unknown name raises and says what was meant."""

    def values(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {k: e.default if isinstance(e, Setting) else values(e) for k, e in tree.items()}

    return ml_collections.ConfigDict(values(_SECTIONS)).lock()


def validated(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the configuration, or raises errors.Invalid naming the first setting that cannot be."""
    for name, setting in SETTINGS.items():
        setting.check(f"config.{name}", _value(config, name))
    _check_ranges(config)
    _check_together(config)
    return config


def _value(config: ml_collections.ConfigDict, name: str) -> Any:
    return functools.reduce(lambda section, key: section[key], name.split("."), config)


def _check_ranges(c: ml_collections.ConfigDict) -> None:
    """Checks that every `low...` is at most its `high...`."""
    for name in SETTINGS:
        section, _, key = name.rpartition(".")
        upper = f"{section}.{key.replace('low', 'high')}"
        if "low" in key and upper in SETTINGS and _value(c, name) > _value(c, upper):
            raise errors.Invalid(
                f"config.{name}={_value(c, name)}: the lower end is above the upper end, "
                f"config.{upper}={_value(c, upper)}."
            )


def _check_together(c: ml_collections.ConfigDict) -> None:
    """Checks what the settings must have in common."""
    nyquist_hz = c.audio.sample_rate_hz / 2
    if not c.spectrogram.low_hz < c.spectrogram.high_hz <= nyquist_hz:
        raise errors.Invalid(
            f"config.spectrogram.low_hz={c.spectrogram.low_hz}, high_hz={c.spectrogram.high_hz}: "
            f"need low_hz < high_hz <= {nyquist_hz:g} (half of config.audio.sample_rate_hz)."
        )
    if c.audio.hop_s > c.audio.segment_s:
        raise errors.Invalid(f"config.audio.hop_s={c.audio.hop_s}: must be at most segment_s={c.audio.segment_s}.")
    if c.model.channels[-1] % c.model.dim:
        raise errors.Invalid(
            f"config.model.dim={c.model.dim} does not divide the last of config.model.channels="
            f"{tuple(c.model.channels)}. The head gives every dimension an equal slice."
        )
    if c.data.on_device == "yes" and c.data.pairs:
        raise errors.Invalid(
            "config.data.on_device='yes' with config.data.pairs: a static set is read by the host. Use 'auto'."
        )
    if c.train.batch_size % 2:
        raise errors.Invalid(
            f"config.train.batch_size={c.train.batch_size}: counts anchors and replicas, so it must be even."
        )
    if c.train.micro_batch % 2:
        raise errors.Invalid(f"config.train.micro_batch={c.train.micro_batch}: must be even, or 0 for none.")
    if c.train.micro_batch and c.model.norm == "batch_norm":
        raise errors.Invalid(
            "config.train.micro_batch with config.model.norm='batch_norm': batch statistics of a part are not those of "
            "the whole, so the gradient would not be exact. Use a layer norm, or micro_batch=0."
        )


def cpu_shares(config: ml_collections.ConfigDict, *, cores: int) -> int:
    """Returns the number of equal shares that a CPU cuts a training batch into, at most one per core."""
    if config.train.cpu_shares:
        return config.train.cpu_shares
    pairs, micro = config.train.batch_size // 2, config.train.micro_batch
    fits = (n for n in range(cores, 0, -1) if pairs % n == 0)
    return next(n for n in fits if n == 1 or not micro or (2 * pairs // n) % micro == 0)


def to_json(config: ml_collections.ConfigDict) -> str:
    """Writes the configuration as JSON, the form that travels in checkpoints and stores."""
    return json.dumps(config.to_dict(), indent=1, sort_keys=True)


def from_json(text: str) -> ml_collections.ConfigDict:
    """Reads what `to_json` wrote. See `from_dict`."""
    return from_dict(json.loads(text))


def from_dict(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Lays saved settings over today's defaults, so that older files gain newer settings. Checks no values."""
    c = default()
    c.unlock()
    if "optimizer" in settings:
        c.optimizer.lamb_scales = "all"  # Files from before this choice scaled all parameters.
    c.update(ml_collections.ConfigDict(settings, convert_dict=True))
    for section, name in (("model", "channels"), ("validate", "lengths")):
        c[section][name] = tuple(c[section][name])
    return c.lock()
