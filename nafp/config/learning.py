"""The settings of a training run: its data, degradations, loss, optimiser, length, validation and checkpoints."""

from __future__ import annotations

from typing import Any

from nafp.config import rules

PLACES = ("auto", "yes", "no")
FILLS = ("zeros", "min", "mean", "random", "range")
WINDOWS = ("all", "one_a_track")
DIRECTIONS = ("both", "later")
ORIGINS = ("anchor", "grid")
PLACINGS = ("inside", "centred", "started")
LOSSES = ("nt_xent", "focal_nt_xent", "triplet", "original_triplet", "angular")
LOSSES_WITH_MEMORY = ("nt_xent", "focal_nt_xent")
MININGS = ("all", "all-balanced", "hardest", "semi-hard")
OPTIMIZERS = ("lamb", "adam")
LAMB_SCALES = ("kernels", "all")
BIAS_CORRECTIONS = ("moments", "step", "none")
SCHEDULES = ("cosine", "cosine_waves", "cosine_restarts", "constant")
SILENCE_DB = -60.0  # Quieter than this is a fade's end, a gap, or room tone.


def _noise(*, probability: float) -> dict[str, rules.Setting]:
    """Describes added noise. Its signal-to-noise ratio lies between low_db and high_db.

    weights: of equal parts of that range, from low to high. (50, 30, 20) draws from its lowest third half of the time.
    """
    ends = dict(low_db=rules.db(0.0), high_db=rules.db(10.0))
    return dict(probability=rules.share(probability), **ends, weights=rules.wholes((1,), least=1))


def _response(*, probability: float, seconds: float) -> dict[str, rules.Setting]:
    """Describes responses. seconds: how much of each is kept. The peak is 1 ms from its start."""
    return dict(probability=rules.share(probability), seconds=rules.real(seconds, above=0.001, most=60))


def _filter(*, probability: float, low_hz: float, high_hz: float) -> dict[str, rules.Setting]:
    """Describes a filter. Its cut-off (-3 dB) and its slope beyond (dB per octave) are uniform between low and high."""
    edges = dict(low_hz=rules.real(low_hz, above=0), high_hz=rules.real(high_hz, above=0))
    return dict(
        probability=rules.share(probability),
        **edges,
        low_slope=rules.real(12.0, above=0),
        high_slope=rules.real(36.0, above=0),
    )


def _mask(*, probability: float, low: float, high: float) -> dict[str, rules.Setting]:
    """Describes a mask. Its size, as a share of the axis, is uniform between low and high."""
    return dict(probability=rules.share(probability), low=rules.share(low), high=rules.share(high))


def _cutout(*, probability: float, low: float, high: float) -> dict[str, rules.Setting]:
    """Describes a rectangular mask. time_high above 0 gives its frames limits of their own, as shares of their axis."""
    of_time = dict(time_low=rules.share(0.0), time_high=rules.share(0.0))
    return _mask(probability=probability, low=low, high=high) | of_time


SECTIONS: dict[str, Any] = dict(
    # Everything random follows from it: parameters, order, offsets, noise, masks.
    seed=rules.whole(0, least=0, most=2**32 - 1),
    data=dict(
        corpus=rules.text(""),  # Folder written by `nafp corpus build`: music, and perhaps noise and responses.
        # Folder written by `nafp queries pairs`. Replicas are then cut from its degraded versions, drawn anew for each
        # window and epoch, and no noise, room or filter is added. A corpus, if given as well, only validates.
        pairs=rules.text(""),
        noise_corpus=rules.text(""),  # Corpus with noise, speech and responses. Empty: the one above.
        train_split=rules.text("train"),
        val_split=rules.text("val"),
        noise_split=rules.text("train"),  # Split of the noise, speech and responses used in training.
        val_noise_split=rules.text("val"),  # The same for validation. Falls back to noise_split if it has none.
        silence_db=rules.db(SILENCE_DB),  # Windows below this RMS level (dB of full scale) are not trained on.
        noise_silence_db=rules.db(SILENCE_DB),
        # Where the recordings lie. yes: in the accelerator's memory, 58 MB an hour at 8 kHz, and hosts send numbers.
        # no: hosts read and send every clip. auto: on an accelerator if they fit into a quarter of its memory.
        # The two ways draw noise by different random numbers.
        on_device=rules.choice("auto", PLACES),
        # Threads that read windows. Processes would cost 2 to 7 times the CPU.
        read_threads=rules.whole(4, least=1, most=1024),
        prefetch=rules.whole(8, least=0, most=65_536),  # Batches read ahead.
        fraction=rules.real(1.0, above=0, most=1),  # Share of the training tracks used, for quick comparisons.
        # From the start of one training window to the next. 0: config.audio.hop_s.
        window_hop_s=rules.real(0.0, least=0, most=60),
        # Windows of an epoch. one_a_track: one of each track, drawn anew for each epoch (the benchmark system's).
        windows=rules.choice("all", WINDOWS),
        # Tracks whose windows are shuffled together, after the tracks themselves (pfann's two stages). 0: all.
        shuffle_tracks=rules.whole(0, least=0),
    ),
    augment=dict(
        enabled=rules.flag(True),
        # An anchor is moved off its grid, and a replica off its anchor, by up to this much either way.
        offset_s=rules.real(0.2, least=0, most=60),
        offset_least_s=rules.real(0.0, least=0, most=60),  # No offset is shorter than this.
        offset_probability=rules.share(1.0),  # Probability that there is an offset at all.
        offset_direction=rules.choice("both", DIRECTIONS),  # later: never earlier (pfann's).
        offset_from=rules.choice("anchor", ORIGINS),  # Where a replica's offset is counted from. grid: pfann's.
        offset_anchors=rules.flag(True),  # False: anchors stay on the grid, and replicas alone are moved.
        replicas=rules.whole(1, least=1, most=64),  # Degraded copies of each anchor. All count in train.batch_size.
        context_s=rules.real(1.0, least=0, most=60),  # Audio before the segment that feeds the reverb tail.
        speed=rules.real(0.0, least=0, most=0.5),  # Replicas play faster or slower by up to this share: 0.05 is 5 %.
        noise=_noise(probability=1.0),
        speech=_noise(probability=0.0),  # Off in the original too.
        song=_noise(probability=0.0),  # Other music: that of data.noise_split.
        noise_in_room=rules.share(0.5),  # Probability that noise is mixed in before the room and shares its response.
        gain=dict(probability=rules.share(1.0), low_db=rules.db(-20.0), high_db=rules.db(0.0)),
        room=_response(probability=0.8, seconds=1.0),
        microphone=_response(probability=0.5, seconds=0.25),
        # True: one response a replica, out of rooms and microphones together, by the settings of `room`. So does the
        # original's code; its paper has one after the other.
        one_response=rules.flag(False),
        # True: the tail of a response wraps round into the beginning of what is heard. Together with context_s=0 that
        # is the original's convolution, which is a mistake.
        circular=rules.flag(False),
        # Probability, band and slopes of the benchmark system's cut-off filters.
        low_pass=_filter(probability=0.4, low_hz=2000.0, high_hz=3000.0),
        high_pass=_filter(probability=0.4, low_hz=500.0, high_hz=1000.0),
        filters_together=rules.flag(False),  # One draw decides on both filters. Their probabilities must be equal.
        saturation=dict(probability=rules.share(0.0), low_db=rules.db(0.0), high_db=rules.db(12.0)),
        # Shares of the spectrogram's W x H: the original's cut-out is W/10 to W/2.5 by H/10 to H/2.5.
        cutout=_cutout(probability=1.0, low=0.1, high=0.4),
        frequency_mask=_mask(probability=1.0, low=5 / 256, high=20 / 256),  # 5 to 19 of 256 bins.
        time_mask=_mask(probability=0.0, low=5 / 32, high=16 / 32),  # 5 to 15 of 32 frames.
        # inside: sizes are rounded, and masks lie inside. centred: the original's, 2 (size // 2) + 1 wide around any
        # centre and cut at the ends. started: the benchmark's, sizes from 0 up, from where the largest fits.
        mask_placing=rules.choice("inside", PLACINGS),
        # True: one draw of all masks for the whole batch and both sides, the original's, pfann's and the benchmark's.
        mask_batch=rules.flag(False),
        peak_replicas=rules.flag(False),  # True: the peak of every replica is brought to 1 before the gain.
        fill=rules.choice("min", FILLS),  # What masks are filled with. range: noise between fill_low and fill_high.
        fill_low=rules.real(0.0, least=-1000, most=1000),
        fill_high=rules.real(1.0, least=-1000, most=1000),
        mask_anchors=rules.flag(True),  # The original masks both sides.
    ),
    loss=dict(
        name=rules.choice("nt_xent", LOSSES),
        temperature=rules.real(0.05, above=0),
        focal_gamma=rules.real(1.0, least=1),  # focal_nt_xent: cross-entropies count (1 - p)^focal_gamma.
        # triplet: the modes are what their names say. original_triplet: the original's numbers, whose modes are not.
        mining=rules.choice("semi-hard", MININGS),
        margin=rules.real(0.4, least=0, most=2),  # Of triplets: Euclidean distance between unit vectors.
        anchors_too=rules.flag(True),  # Of triplets: anchors of other windows are negatives, as replicas are.
        alpha_deg=rules.real(40.0, above=0, below=90),  # angular: the largest angle at a negative that costs nothing.
        miner_deg=rules.real(20.0, least=0, below=90),  # angular: triplets with a smaller angle do not count.
        mask_same_track=rules.flag(True),  # Windows of one track are no negatives of each other: music repeats.
        # Anchors of earlier steps, of other tracks, that serve replicas as further negatives.
        memory=rules.whole(0, least=0),
    ),
    optimizer=dict(
        name=rules.choice("lamb", OPTIMIZERS),  # lamb: the original's above batch 240.
        # Which parameters' steps LAMB scales with their size. kernels: all others take Adam's steps. all: the
        # original's; what begins at zero, as every bias does, then hardly leaves it (docs/recipes.md).
        lamb_scales=rules.choice("kernels", LAMB_SCALES),
        learning_rate=rules.real(1e-4, least=0),
        scale_with_batch=rules.flag(False),  # True: learning_rate x batch_size / 640, the original's rule.
        schedule=rules.choice("cosine", SCHEDULES),
        # cosine_waves: epochs from the peak to the lowest rate. It then rises again for as long, and so on.
        fall_epochs=rules.whole(0, least=0),
        rate_per_epoch=rules.flag(False),  # True: the rate changes between epochs only, as PyTorch programs have it.
        warmup_steps=rules.whole(0, least=0),
        final_share=rules.share(1e-2),  # Learning rate at the end, as a share of the peak.
        # cosine_restarts: the first period as a share of all steps. Each further period is twice as long.
        restart_share=rules.real(0.1, above=0, most=1),
        weight_decay=rules.real(1e-6, least=0),
        b1=rules.real(0.9, least=0, below=1),
        b2=rules.real(0.999, least=0, below=1),
        eps=rules.real(1e-6, above=0),
        # What undoes that moments begin at zero. moments: each is divided by what it lacks, before eps. step: the
        # learning rate is multiplied, after eps (Keras's Adam, pfann's LAMB). none: nothing (the benchmark's LAMB).
        bias_correction=rules.choice("moments", BIAS_CORRECTIONS),
        norm_clamp=rules.real(0.0, least=0),  # LAMB: a larger norm of a parameter counts as this. 0: as it is.
    ),
    train=dict(
        batch_size=rules.whole(640, least=4),  # Segments in the global batch: anchors and all their replicas.
        # Segments per device at once; the gradient is that of the whole batch. 0: all.
        micro_batch=rules.whole(0, least=0),
        # On a CPU: shares of the batch that run side by side, as on that many devices. 0: one for each core. On two
        # cores two shares train 1.5 times as fast as one share whose operations are cut in two.
        cpu_shares=rules.whole(0, least=0, most=4096),
        epochs=rules.whole(100, least=1),
        steps=rules.whole(0, least=0),  # The run ends after this many steps, whatever epochs says. 0: epochs decide.
        steps_per_epoch=rules.whole(0, least=0),  # 0: every window of the corpus once.
        # Trained network whose parameters a new run begins with: RUN@best, a file, or a shipped name. Empty: random.
        begin_from=rules.text(""),
        minutes=rules.real(0.0, least=0),  # The run ends, saved and resumable, after this much wall time. 0: no limit.
        log_every=rules.whole(10, least=1),  # Steps.
        # Steps given to the devices before the oldest is waited for. What a run computes is the same. 0: 1 on a CPU,
        # whose virtual devices would wait for each other for ever, and 4 elsewhere.
        steps_in_flight=rules.whole(0, least=0, most=1000),
    ),
    validate=dict(
        every_epochs=rules.whole(1, least=0),  # 0: never.
        # Tracks of the validation split, up to 30 s of each: the original's mini-search.
        tracks=rules.whole(50, least=1),
        lengths=rules.wholes((1, 3, 5, 9, 11, 19), least=1),  # Lengths of the queries, in segments.
        patience=rules.whole(0, least=0),  # The run ends after this many validations without a better one. 0: never.
    ),
    checkpoint=dict(
        every_steps=rules.whole(500, least=1),
        keep=rules.whole(3, least=1),  # Latest ones. The best one is kept as well.
        keep_every_steps=rules.whole(0, least=0),  # One in this many steps is kept for ever. 0: none.
    ),
)
