"""The corpora of a configuration, opened as the streams and clips that a run trains and validates on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

import nafp.config
from nafp import errors
from nafp.audio import segments
from nafp.corpora import corpus, spectrogram_pairs, static_pairs
from nafp.models import network
from nafp.training import augment, order, pipeline, ready_pairs, resident, step, validation
from nafp.training.sounds import Sounds

_Reader = Callable[[int, int], pipeline.Batch]  # (position, window) -> example.
_ONE_TRACK = (
    "WARNING: all windows are of one track, and windows of one track are no negatives of each other: there is nothing "
    "to learn from, and a loss of 0 says nothing. Add tracks, or set config.loss.mask_same_track=False"
)
VALIDATION_BATCH = 64  # Clips embedded at once in the mini-search.


class Data(NamedTuple):
    """What a run reads.

    epoch: the number of windows in an epoch. stream: the training batches. examples: the validation clips, None without
    a validation split. notes: lines that tell the reader of the log what was opened.
    """

    windows: pipeline.TrainingWindows
    epoch: int
    stream: pipeline.Stream
    banks: step.Banks
    examples: validation.Examples | None
    validation_banks: step.Banks
    notes: list[str]


class _Cutter(NamedTuple):
    """How music is cut into windows. hop: of fingerprints, in samples. window_hop: of training windows, in samples."""

    settings: augment.Settings
    hop: int
    window_hop: int
    silence_db: float
    seed: int

    def training_windows(self, music: corpus.Corpus, *, split: str, fraction: float) -> pipeline.TrainingWindows:
        return self._windows(music, split=split, hop=self.window_hop, fraction=fraction)

    def held_windows(self, music: corpus.Corpus, *, split: str) -> pipeline.TrainingWindows:
        return self._windows(music, split=split, hop=self.hop, fraction=1.0)

    def _windows(self, music: corpus.Corpus, *, split: str, hop: int, fraction: float) -> pipeline.TrainingWindows:
        return pipeline.windows(
            music,
            split=split,
            segment=self.settings.segment,
            hop=hop,
            silence_db=self.silence_db,
            fraction=fraction,
        )

    def reader(
        self,
        music: corpus.Corpus,
        windows: pipeline.TrainingWindows,
        *,
        noises: dict[str, pipeline.Noise] | None = None,
        static: static_pairs.Pairs | None = None,
        replicas: int = 1,
    ) -> pipeline.ClipReader:
        """Returns a reader that adds `noises` (by kind), or the degraded versions of a static set, for each replica."""
        return pipeline.ClipReader(
            music,
            windows,
            segment=self.settings.segment,
            context=self.settings.context,
            margin=self.settings.margin,
            seed=self.seed,
            added=noises,
            variants=static.variants if static else (),
            replicas=replicas,
        )


class _Order(NamedTuple):
    """The order of the windows, and how hosts share and read them.

    pairs: those of the global batch. one_a_track: whether an epoch has one window of each track. shuffle_tracks: tracks
    whose windows are shuffled together, 0 for all.
    """

    seed: int
    pairs: int
    read_threads: int
    prefetch: int
    one_a_track: bool
    shuffle_tracks: int

    def epochs(self, windows: pipeline.TrainingWindows) -> order.Epochs | None:
        """Returns the order of the windows, None if an epoch has each of them once, in any order."""
        if self.one_a_track:
            return order.one_of_each(windows.track, seed=self.seed)
        if self.shuffle_tracks:
            return order.in_two_stages(windows.track, tracks=self.shuffle_tracks, seed=self.seed)
        return None

    def length(self, windows: pipeline.TrainingWindows) -> int:
        """Returns the number of windows in an epoch."""
        return len(np.unique(windows.track)) if self.one_a_track else len(windows.start)

    def batches(self, windows: pipeline.TrainingWindows, reader: _Reader) -> pipeline.Stream:
        return pipeline.batches(
            len(windows.start),
            reader,
            seed=self.seed,
            pairs=self.pairs,
            host=jax.process_index(),
            hosts=jax.process_count(),
            read_threads=self.read_threads,
            prefetch=self.prefetch,
            order=self.epochs(windows),
        )

    def numbers(self, windows: pipeline.TrainingWindows) -> pipeline.Stream:
        return pipeline.numbers(
            len(windows.start),
            seed=self.seed,
            pairs=self.pairs,
            host=jax.process_index(),
            hosts=jax.process_count(),
            order=self.epochs(windows),
        )


class _Held(NamedTuple):
    """What is asked of validation. split: of its music. sounds_split: of its noise and responses."""

    wanted: bool
    tracks: int
    rows_per_track: int
    split: str
    sounds_split: str

    def is_in(self, music: corpus.Corpus) -> bool:
        return bool(music.select(kind="music", split=self.split))

    def examples(self, windows: pipeline.TrainingWindows, reader: _Reader) -> validation.Examples:
        return validation.examples(
            windows, reader, tracks=self.tracks, rows_per_track=self.rows_per_track, batch_size=VALIDATION_BATCH
        )

    @property
    def absent(self) -> str:
        return f"no music in split {self.split!r}: trains without validation, nothing is called best"


class _Plan(NamedTuple):
    """What the configuration asks for, in plain values. sounds_split: of the noise and responses of training."""

    pairs: str
    mel_shape: tuple[int, int]
    corpus: str
    noise_corpus: str
    split: str
    sounds_split: str
    noise_silence_db: float
    fraction: float
    on_device: str
    hop_s: float
    replicas: int
    cutter: _Cutter
    order: _Order
    held: _Held

    def describe(self, windows: pipeline.TrainingWindows, folder: str) -> str:
        n_windows, n_tracks = len(windows.start), len(np.unique(windows.track))
        return f"{n_tracks} tracks, {n_windows} windows ({n_windows * self.hop_s / 3600:.1f} h) from {folder}"


def open_data(config: ml_collections.ConfigDict, settings: augment.Settings) -> Data:
    """Opens the corpora of a configuration and starts the stream.

    Raises errors.Invalid or errors.NotFound naming the setting to change.
    """
    plan = _unpacked(config, settings)
    opened = _open_pairs(plan) if plan.pairs else _open_corpus(plan)
    if config.loss.mask_same_track and len(np.unique(opened.windows.track)) == 1:
        opened.notes.append(_ONE_TRACK)
    return opened


def facts(opened: Data) -> dict[str, object]:
    """Returns what must be the same on every host: the windows, as a digest, and where the recordings lie."""
    windows = hashlib.sha256(opened.windows.start.tobytes() + opened.windows.track.tobytes())
    return {
        "the windows' digest": windows.hexdigest()[:12],
        "whether recordings lie on the device": opened.banks.recordings is not None,
    }


def _unpacked(config: ml_collections.ConfigDict, settings: augment.Settings) -> _Plan:
    """Unpacks the configuration. Nothing below this line sees it."""
    data, validate, rate_hz = config.data, config.validate, config.audio.sample_rate_hz
    hop_s = data.window_hop_s or config.audio.hop_s
    hop, window_hop = (segments.to_samples(s, rate_hz) for s in (config.audio.hop_s, hop_s))
    excerpt = segments.to_samples(validation.EXCERPT_S, rate_hz)
    return _Plan(
        pairs=data.pairs,
        mel_shape=network.mel_shape(config),
        corpus=data.corpus,
        noise_corpus=data.noise_corpus,
        split=data.train_split,
        sounds_split=data.noise_split,
        noise_silence_db=data.noise_silence_db,
        fraction=data.fraction,
        on_device=data.on_device,
        hop_s=hop_s,
        replicas=settings.replicas,
        cutter=_Cutter(settings, hop, window_hop, data.silence_db, config.seed),
        order=_Order(
            seed=config.seed,
            pairs=nafp.config.anchors(config),
            read_threads=data.read_threads,
            prefetch=data.prefetch,
            one_a_track=data.windows == "one_a_track",
            shuffle_tracks=data.shuffle_tracks,
        ),
        held=_Held(
            validate.every_epochs > 0,
            validate.tracks,
            segments.count(excerpt, segment=settings.segment, hop=hop),
            data.val_split,
            data.val_noise_split,
        ),
    )


def _open_corpus(plan: _Plan) -> Data:
    """Opens a corpus, whose clips are degraded as they are used."""
    music, sounds = _corpora(plan)
    windows = plan.cutter.training_windows(music, split=plan.split, fraction=plan.fraction)
    reader = plan.cutter.reader(music, windows, noises=sounds.noises(plan.sounds_split), replicas=plan.replicas)
    notes = [plan.describe(windows, plan.corpus)]
    banks, epoch = sounds.banks(plan.sounds_split), plan.order.length(windows)
    examples, validation_banks = _validation(plan, music, sounds, banks, notes)
    kinds = sounds.kinds(*augment.ADDED)
    n_bytes = resident.n_bytes(music, windows, sounds.source, split=plan.sounds_split, kinds=kinds)
    if not lies_on_device(plan.on_device, n_bytes):
        return Data(windows, epoch, plan.order.batches(windows, reader), banks, examples, validation_banks, notes)
    notes.append(f"the recordings lie on the device: {n_bytes / 1e9:.2f} GB")
    recordings = resident.load(
        plan.cutter.settings,
        music,
        windows,
        sounds.source,
        split=plan.sounds_split,
        kinds=kinds,
        silence_db=plan.noise_silence_db,
    )
    banks = banks._replace(recordings=recordings)
    return Data(windows, epoch, plan.order.numbers(windows), banks, examples, validation_banks, notes)


def lies_on_device(wanted: str, n_bytes: int) -> bool:
    """Returns whether recordings of n_bytes are put on the device.

    wanted: `yes`, `no`, or `auto` for an accelerator of whose memory they take a quarter at most.
    """
    if wanted != "auto":
        return wanted == "yes"
    if jax.default_backend() == "cpu":
        return False
    return 4 * n_bytes <= (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)


def _open_pairs(plan: _Plan) -> Data:
    """Opens a static set. Nothing is degraded online, so training has no banks."""
    if spectrogram_pairs.is_set(plan.pairs):
        return _open_spectrograms(plan)
    static, cutter = static_pairs.Pairs(plan.pairs), plan.cutter
    _check_rate(static.corpus, cutter.settings.sample_rate_hz)
    windows = cutter.training_windows(static.corpus, split=plan.split, fraction=plan.fraction)
    reader = cutter.reader(static.corpus, windows, static=static, replicas=plan.replicas)
    notes = [f"{plan.describe(windows, plan.pairs)}, {len(static.variants)} variants"]
    examples, validation_banks = None, step.Banks(None, None)
    if plan.held.wanted and plan.corpus:
        music, sounds = _corpora(plan)
        examples, validation_banks = _validation(plan, music, sounds, sounds.banks(plan.sounds_split), notes)
    elif plan.held.wanted and plan.held.is_in(static.corpus):
        held = cutter.held_windows(static.corpus, split=plan.held.split)
        examples = plan.held.examples(held, cutter.reader(static.corpus, held, static=static))
    elif plan.held.wanted:
        notes.append(plan.held.absent)
    stream = plan.order.batches(windows, reader)
    return Data(windows, plan.order.length(windows), stream, step.Banks(None, None), examples, validation_banks, notes)


def _open_spectrograms(plan: _Plan) -> Data:
    """Opens a set of spectrograms, clean and degraded, of which nothing is heard any more."""
    if plan.replicas > 1:
        raise errors.Invalid(f"{plan.pairs}: has one replica for each anchor, config.augment.replicas={plan.replicas}")
    reader = ready_pairs.ReadyPairs(
        spectrogram_pairs.SpectrogramPairs(plan.pairs, split=plan.split), shape=plan.mel_shape
    )
    windows, examples, none = reader.windows(), None, step.Banks(None, None)
    notes = [f"{len(windows.track)} pairs of spectrograms from {plan.pairs}"]
    validation_banks = none
    if plan.held.wanted and plan.corpus:
        music, sounds = _corpora(plan)
        examples, validation_banks = _validation(plan, music, sounds, sounds.banks(plan.sounds_split), notes)
    elif plan.held.wanted and os.path.isdir(os.path.join(plan.pairs, spectrogram_pairs.SETS["val"])):
        held = spectrogram_pairs.SpectrogramPairs(plan.pairs, split=plan.held.split)
        read = ready_pairs.ReadyPairs(held, shape=plan.mel_shape)
        examples = plan.held.examples(read.windows(), read)
    elif plan.held.wanted:
        notes.append(plan.held.absent)
    stream = plan.order.batches(windows, reader)
    return Data(windows, plan.order.length(windows), stream, none, examples, validation_banks, notes)


def _validation(
    plan: _Plan, music: corpus.Corpus, sounds: Sounds, banks: step.Banks, notes: list[str]
) -> tuple[validation.Examples | None, step.Banks]:
    """Returns the validation clips, or None, and their responses. banks: those of training.

    Adds to `notes` where the validation differs from what is asked for.
    """
    if not plan.held.wanted:
        return None, banks
    if not plan.held.is_in(music):
        notes.append(plan.held.absent)
        return None, banks
    windows = plan.cutter.held_windows(music, split=plan.held.split)
    split = plan.held.sounds_split
    if lacking := sounds.lacking(split):
        notes.append(f"no {', '.join(lacking)} in split {split!r}: validates with those of {plan.sounds_split!r}")
        split = plan.sounds_split
    reader = plan.cutter.reader(music, windows, noises=sounds.noises(split))
    return plan.held.examples(windows, reader), sounds.banks(split)


def _corpora(plan: _Plan) -> tuple[corpus.Corpus, Sounds]:
    if not plan.corpus:
        raise errors.Invalid(
            "config.data.corpus is empty: name a folder that `nafp corpus build` wrote, --config.data.corpus=CORPUS."
        )
    music = corpus.Corpus.open(plan.corpus)
    source = corpus.Corpus.open(plan.noise_corpus) if plan.noise_corpus else music
    for folder in (music, source):
        _check_rate(folder, plan.cutter.settings.sample_rate_hz)
    return music, Sounds(source, plan.cutter.settings, plan.noise_silence_db)


def _check_rate(folder: corpus.Corpus, sample_rate_hz: int) -> None:
    if folder.sample_rate_hz != sample_rate_hz:
        raise errors.Invalid(
            f"{folder.folder} was built at {folder.sample_rate_hz} Hz, config.audio.sample_rate_hz is "
            f"{sample_rate_hz}. Build it again with --sample_rate_hz={sample_rate_hz}."
        )
