"""Every setting of the package, once: its default, its unit, its reason.

`configs/*.py` are short diffs of `default()`. Values here follow the original system (Chang et al., ICASSP 2021)
unless the comment says why not. Leaves of the library take plain keywords and never see this file.
"""

from __future__ import annotations

import difflib
import json

import ml_collections

from nafp import errors

SPECTROGRAM_KINDS = ("magnitude", "power")
NORMS = ("layer_norm2d", "layer_norm1d", "batch_norm")
PLACES = ("auto", "yes", "no")
FILLS = ("zeros", "min", "mean", "random", "range")
SCHEDULES = ("cosine", "cosine_restarts", "constant")
OPTIMIZERS = ("lamb", "adam")
LAMB_SCALES = ("kernels", "all")


def default() -> ml_collections.ConfigDict:
    """Returns the full configuration, locked: an unknown name raises and says what was meant."""
    c = ml_collections.ConfigDict()
    c.seed = 0  # Everything random follows from it: parameters, order, offsets, noise, masks.
    c.audio = _audio()
    c.spectrogram = _spectrogram()
    c.model = _model()
    c.data = _data()
    c.augment = _augment()
    c.loss = _loss()
    c.optimizer = _optimizer()
    c.train = _train()
    c.validate = _validate()
    c.checkpoint = _checkpoint()
    return c.lock()


def _audio() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.sample_rate_hz = 8000  # Music identifies itself below 4 kHz; phones and radio keep little more.
    c.segment_s = 1.0  # Length of one fingerprint. Shorter: finer time, less to hold on to.
    c.hop_s = 0.5  # Start to start. Half a segment: a query is never more than 0.25 s off.
    return c


def _spectrogram() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.n_fft = 1024  # Samples of one STFT frame: 128 ms at 8 kHz.
    c.stft_hop = 256  # Samples from frame to frame: 32 frames in a second.
    c.n_mels = 256
    c.low_hz = 300.0  # Lower edge of the mel bank. 40 finds much more in noise (docs/recipes.md).
    c.high_hz = 4000.0  # Upper edge; at most half the sample rate.
    c.kind = "magnitude"  # magnitude (original) | power (pfann, librosa).
    c.floor = "relative"  # relative: a fraction of the segment's maximum | fixed: the original's 0.06.
    c.relative_floor = 1e-3  # -60 dB: deeper than this is noise in any recording of a loudspeaker.
    c.fixed_floor = 0.06  # Added to the mel magnitude of a full-scale waveform when floor is fixed.
    c.waveform_norm = "none"  # none | rms | peak: level brought to 1 before the fixed floor means anything.
    return c


def _model() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.name = "nafp"  # A registered architecture: nafp.models.names().
    c.dim = 128  # Length of a fingerprint.
    c.channels = (128, 128, 256, 256, 512, 512, 1024, 1024)  # Output channels of the eight blocks.
    c.head_hidden = 32  # Units of the divide-and-encode head's hidden layer.
    c.norm = "layer_norm2d"  # layer_norm2d (original) | layer_norm1d | batch_norm.
    c.activation = "elu"  # elu (original) | relu (pfann).
    c.activation_order = "before_norm"  # before_norm (original) | after_norm (pfann).
    c.depthwise = False  # True: depthwise 3x1 convolutions, half the parameters (pfann).
    c.form = "auto"  # Convolutions: gemm on CPU, lax elsewhere; the same parameters and results.
    c.dtype = "auto"  # Compute: bfloat16 on accelerators, float32 on CPU. Parameters stay float32.
    return c


def _data() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.corpus = ""  # Folder written by `nafp corpus build`: music, and noise and responses if there.
    # Folder written by `nafp queries pairs`: degraded versions come from it, drawn anew for each
    # window and epoch, in place of online noise, rooms and filters. A corpus then only validates.
    c.pairs = ""
    c.noise_corpus = ""  # Where noise, speech and responses are; empty: the same folder.
    c.train_split = "train"
    c.val_split = "val"
    c.noise_split = "train"  # Background noise, speech and responses heard in training.
    c.val_noise_split = "val"  # The same in validation; falls back to noise_split when that is empty.
    c.silence_db = -60.0  # Windows quieter than this (RMS, dB of full scale) are not trained on.
    c.noise_silence_db = -60.0
    # Where the recordings lie: yes: in the accelerator's memory, 58 MB an hour at 8 kHz, and hosts send numbers | no:
    # hosts read and send every clip | auto: on an accelerator, when they fit into a quarter of its memory. Noise is
    # drawn by other numbers in each.
    c.on_device = "auto"
    c.read_threads = 4  # Threads reading windows; worker processes cost 2 to 7 times the CPU.
    c.prefetch = 8  # Batches read ahead.
    c.fraction = 1.0  # Share of the training tracks used, for quick comparisons.
    return c


def _augment() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.enabled = True
    c.offset_s = 0.2  # Anchor off its grid, and replica off its anchor, by up to this much either way.
    c.context_s = 1.0  # Audio before the segment that feeds the reverb tail.
    c.speed = 0.0  # Replica played faster or slower by up to this share: 0.05 is 5 %.
    c.noise = _noise(probability=1.0, low_db=0.0, high_db=10.0)
    c.speech = _noise(probability=0.0, low_db=0.0, high_db=10.0)  # Off in the original too.
    c.noise_in_room = 0.5  # Probability that noise is mixed before the room and shares its response.
    c.gain = ml_collections.ConfigDict(dict(probability=1.0, low_db=-20.0, high_db=0.0))
    c.room = ml_collections.ConfigDict(dict(probability=0.8, seconds=1.0))
    c.microphone = ml_collections.ConfigDict(dict(probability=0.5, seconds=0.25))
    # Probability, band and slopes of the benchmark system's cut-off filters.
    c.low_pass = _filter(probability=0.4, low_hz=2000.0, high_hz=3000.0)
    c.high_pass = _filter(probability=0.4, low_hz=500.0, high_hz=1000.0)
    c.saturation = ml_collections.ConfigDict(dict(probability=0.0, low_db=0.0, high_db=12.0))
    # Shares of the spectrogram: the original's cut-out is W/10 to W/2.5 by H/10 to H/2.5.
    c.cutout = _mask(probability=1.0, low=0.1, high=0.4)
    c.frequency_mask = _mask(probability=1.0, low=5 / 256, high=20 / 256)  # 5 to 19 of 256 bins.
    c.time_mask = _mask(probability=0.0, low=5 / 32, high=16 / 32)  # 5 to 15 of 32 frames.
    c.fill = "min"  # zeros | min | mean | random | range (between fill_low and fill_high).
    c.fill_low = 0.0
    c.fill_high = 1.0
    c.mask_anchors = True  # The original masks both sides.
    return c


def _noise(*, probability: float, low_db: float, high_db: float) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.probability = probability
    c.low_db = low_db  # Signal-to-noise ratio, uniform between these.
    c.high_db = high_db
    return c


def _filter(*, probability: float, low_hz: float, high_hz: float) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.probability = probability
    c.low_hz = low_hz  # Cut-off (-3 dB), uniform between these.
    c.high_hz = high_hz
    c.low_slope = 12.0  # dB per octave beyond the cut-off, uniform between these.
    c.high_slope = 36.0
    return c


def _mask(*, probability: float, low: float, high: float) -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.probability = probability
    c.low = low  # Size as a share of the axis, uniform between these.
    c.high = high
    return c


def _loss() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.name = "nt_xent"
    c.temperature = 0.05
    c.mask_same_track = True  # Windows of one track are no negatives of each other: music repeats.
    c.memory = 0  # Anchors of steps before that replicas are pushed away from, too; none of their own track.
    return c


def _optimizer() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.name = "lamb"  # lamb (the original above batch 240) | adam.
    # Whose steps LAMB scales with their size. kernels: all else takes Adam's steps | all (original): what begins at
    # zero, as every bias does, then hardly leaves it (docs/recipes.md).
    c.lamb_scales = "kernels"
    c.learning_rate = 1e-4
    c.scale_with_batch = False  # True: learning_rate x batch_size / 640, the original's rule.
    c.schedule = "cosine"  # cosine | cosine_restarts | constant.
    c.warmup_steps = 0
    c.final_share = 1e-2  # Learning rate at the end, as a share of the peak.
    c.restart_share = 0.1  # First period of cosine_restarts, as a share of all steps; each next is twice.
    c.weight_decay = 1e-6
    c.b1 = 0.9
    c.b2 = 0.999
    c.eps = 1e-6
    return c


def _train() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.batch_size = 640  # Segments in the global batch, half anchors and half replicas.
    c.micro_batch = 0  # Segments per device at once; 0: all. The gradient is that of the whole batch.
    # On a CPU: shares of the batch that run side by side, as on so many devices; 0: one for each core. On two cores two
    # shares train 1.5 times as fast as one share whose operations are cut in two.
    c.cpu_shares = 0
    c.epochs = 100
    c.steps = 0  # Ends after this many steps, whatever epochs says; 0: epochs decide.
    c.steps_per_epoch = 0  # 0: every window of the corpus once.
    # A trained network whose parameters a new run begins with (RUN@best, a file, a shipped name); empty: random ones.
    c.begin_from = ""
    c.minutes = 0.0  # Ends (saved, resumable) after this much wall time; 0: no limit.
    c.log_every = 10  # Steps.
    return c


def _validate() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.every_epochs = 1  # 0: never.
    c.tracks = 50  # Tracks of the validation split, up to 30 s of each: the original's mini-search.
    c.lengths = (1, 3, 5, 9, 11, 19)  # Segments.
    c.patience = 0  # Ends after this many validations without a better one; 0: never.
    return c


def _checkpoint() -> ml_collections.ConfigDict:
    c = ml_collections.ConfigDict()
    c.every_steps = 500
    c.keep = 3  # Latest ones; the best one is kept besides.
    c.keep_every_steps = 0  # One in this many steps is kept for ever; 0: none.
    return c


def validated(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns the configuration, or raises ValueError naming the first setting that cannot be."""
    c = config
    _one_of("spectrogram.kind", c.spectrogram.kind, SPECTROGRAM_KINDS)
    _one_of("spectrogram.floor", c.spectrogram.floor, ("relative", "fixed"))
    _one_of("model.norm", c.model.norm, NORMS)
    _one_of("model.activation", c.model.activation, ("elu", "relu"))
    _one_of("model.activation_order", c.model.activation_order, ("before_norm", "after_norm"))
    _one_of("model.form", c.model.form, ("auto", "gemm", "lax"))
    _one_of("model.dtype", c.model.dtype, ("auto", "float32", "bfloat16"))
    _one_of("data.on_device", c.data.on_device, PLACES)
    if c.data.on_device == "yes" and c.data.pairs:
        raise errors.Invalid(
            "config.data.on_device='yes' with config.data.pairs: a static set is read by the host. Use 'auto'."
        )
    _one_of("augment.fill", c.augment.fill, FILLS)
    _one_of("loss.name", c.loss.name, ("nt_xent",))
    _one_of("optimizer.name", c.optimizer.name, OPTIMIZERS)
    _one_of("optimizer.lamb_scales", c.optimizer.lamb_scales, LAMB_SCALES)
    _one_of("optimizer.schedule", c.optimizer.schedule, SCHEDULES)
    _check_numbers(c)
    return config


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise errors.Invalid(f"config.{name}={value!r}: allowed are {', '.join(allowed)}.{meant}")


def _check_numbers(c: ml_collections.ConfigDict) -> None:
    nyquist_hz = c.audio.sample_rate_hz / 2
    if not 0 <= c.spectrogram.low_hz < c.spectrogram.high_hz <= nyquist_hz:
        raise errors.Invalid(
            f"config.spectrogram.low_hz={c.spectrogram.low_hz}, high_hz={c.spectrogram.high_hz}: "
            f"need 0 <= low_hz < high_hz <= {nyquist_hz:g} (half of config.audio.sample_rate_hz)."
        )
    if not 0 < c.audio.hop_s <= c.audio.segment_s:
        raise errors.Invalid(
            f"config.audio.hop_s={c.audio.hop_s}: must be above 0 and at most segment_s={c.audio.segment_s}."
        )
    if c.train.batch_size < 4 or c.train.batch_size % 2:
        raise errors.Invalid(
            f"config.train.batch_size={c.train.batch_size}: counts anchors and replicas, "
            "so it must be even and at least 4."
        )
    if c.train.cpu_shares < 0:
        raise errors.Invalid(f"config.train.cpu_shares={c.train.cpu_shares}: a number of shares, or 0 for one a core.")
    if c.train.micro_batch % 2 or c.train.micro_batch < 0:
        raise errors.Invalid(f"config.train.micro_batch={c.train.micro_batch}: must be even, or 0 for none.")
    if c.train.micro_batch and c.model.norm == "batch_norm":
        raise errors.Invalid(
            "config.train.micro_batch with config.model.norm='batch_norm': batch statistics of a part are not those of "
            "the whole, so the gradient would not be exact. Use a layer norm, or micro_batch=0."
        )
    if c.model.channels[-1] % c.model.dim:
        raise errors.Invalid(
            f"config.model.dim={c.model.dim} does not divide the last of config.model.channels="
            f"{tuple(c.model.channels)}; the head gives every dimension an equal slice."
        )
    if c.loss.temperature <= 0:
        raise errors.Invalid(f"config.loss.temperature={c.loss.temperature}: must be above 0.")
    if c.loss.memory < 0:
        raise errors.Invalid(f"config.loss.memory={c.loss.memory}: a number of anchors, or 0 for none.")
    for name in ("noise", "speech", "gain", "saturation"):
        _ordered(f"augment.{name}", c.augment[name].low_db, c.augment[name].high_db)
    for name in ("low_pass", "high_pass"):
        _ordered(f"augment.{name}", c.augment[name].low_hz, c.augment[name].high_hz)
    for name in ("cutout", "frequency_mask", "time_mask"):
        _ordered(f"augment.{name}", c.augment[name].low, c.augment[name].high)


def _ordered(name: str, low: float, high: float) -> None:
    if low > high:
        raise errors.Invalid(f"config.{name}: the lower end {low} is above the upper end {high}.")


def cpu_shares(config: ml_collections.ConfigDict, *, cores: int) -> int:
    """Says into how many shares a CPU cuts a batch of training: at most one a core, and all of one size."""
    if config.train.cpu_shares:
        return config.train.cpu_shares
    pairs, micro = config.train.batch_size // 2, config.train.micro_batch
    fits = (n for n in range(cores, 0, -1) if pairs % n == 0)
    return next(n for n in fits if n == 1 or not micro or (2 * pairs // n) % micro == 0)


def to_json(config: ml_collections.ConfigDict) -> str:
    """Writes the configuration as JSON, the form that travels in checkpoints and stores."""
    return json.dumps(config.to_dict(), indent=1, sort_keys=True)


def from_json(text: str) -> ml_collections.ConfigDict:
    """Reads `to_json`'s form; see `from_dict`."""
    return from_dict(json.loads(text))


def from_dict(settings: dict) -> ml_collections.ConfigDict:
    """Lays saved settings over today's defaults, so that older files gain newer settings."""
    c = default()
    c.unlock()
    if "optimizer" in settings:
        c.optimizer.lamb_scales = "all"  # Before there was a choice, it scaled all.
    c.update(ml_collections.ConfigDict(settings, convert_dict=True))
    for section, name in (("model", "channels"), ("validate", "lengths")):
        c[section][name] = tuple(c[section][name])
    return c.lock()
