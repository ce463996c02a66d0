"""The corpora of a configuration, opened as the streams and clips that a run trains and validates on."""

from __future__ import annotations

from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import banks, corpus, static_pairs
from nafp.training import augment, pipeline, resident, step, validation

VALIDATION_BATCH = 64  # Clips embedded at once in the mini-search.


class Data(NamedTuple):
    """What a run reads.

    stream: the training batches. examples: the validation clips, None without a validation split. notes: lines that
    tell the reader of the log what was opened.
    """

    windows: pipeline.TrainingWindows
    stream: pipeline.Stream
    banks: step.Banks
    examples: validation.Examples | None
    validation_banks: step.Banks
    notes: list[str]


class _Cutter(NamedTuple):
    """How music is cut into windows. hop: in samples."""

    settings: augment.Settings
    hop: int
    silence_db: float
    seed: int

    def windows(self, music: corpus.Corpus, *, split: str, fraction: float = 1.0) -> pipeline.TrainingWindows:
        return pipeline.windows(
            music,
            split=split,
            segment=self.settings.segment,
            hop=self.hop,
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
    ) -> pipeline.ClipReader:
        """Returns a reader that adds `noises` (by kind), or the degraded versions of a static set."""
        noises = noises or {}
        return pipeline.ClipReader(
            music,
            windows,
            segment=self.settings.segment,
            context=self.settings.context,
            margin=self.settings.margin,
            seed=self.seed,
            noise=noises.get("noise"),
            speech=noises.get("speech"),
            variants=static.variants if static else (),
        )


class _Sounds(NamedTuple):
    """The corpus that degradations come from, and the kinds that are asked for, with a probability above 0."""

    source: corpus.Corpus
    settings: augment.Settings
    silence_db: float

    def probability(self, kind: str) -> float:
        """Returns the probability of `noise`, `speech`, `room` or `microphone`, 0 if nothing is degraded."""
        chain = self.settings.chain
        return getattr(chain, kind).probability if chain.enabled else 0.0

    def kinds(self, *names: str) -> list[str]:
        """Returns those of the kinds that are asked for."""
        return [kind for kind in names if self.probability(kind) > 0]

    def lacking(self, split: str) -> list[str]:
        """Lists the kinds that are asked for and not in this split."""
        kinds = self.kinds("noise", "speech", "room", "microphone")
        return [kind for kind in kinds if not self.source.select(kind=kind, split=split)]

    def noises(self, split: str) -> dict[str, pipeline.Noise]:
        """Opens the noise and the speech of a split, by kind."""
        return {kind: self._noise(kind, split) for kind in self.kinds("noise", "speech")}

    def _noise(self, kind: str, split: str) -> pipeline.Noise:
        n_samples = self.settings.heard_samples
        noise = pipeline.noise_source(
            self.source, kind=kind, split=split, n_samples=n_samples, silence_db=self.silence_db
        )
        if noise is None:
            raise self._missing(kind, split)
        return noise

    def banks(self, split: str) -> step.Banks:
        """Opens the responses of a split."""
        return step.Banks(self._bank("room", split), self._bank("microphone", split))

    def _bank(self, kind: str, split: str) -> augment.Bank | None:
        if not self.probability(kind):
            return None
        if not self.source.select(kind=kind, split=split):
            raise self._missing(kind, split)
        n_samples = segments.to_samples(getattr(self.settings.chain, kind).seconds, self.settings.sample_rate_hz)
        responses = banks.response_bank(self.source, kind=kind, split=split, n_samples=n_samples)
        clip_samples, kept_samples = self.settings.heard_samples, self.settings.segment
        return augment.bank(responses, clip_samples=clip_samples, kept_samples=kept_samples)

    def _missing(self, kind: str, split: str) -> errors.Invalid:
        return errors.Invalid(
            f"config.augment.{kind}.probability={self.probability(kind)}, but "
            f"{self.source.folder} has no {kind} in split {split!r} (it has {self.source.summary()}). "
            "Add some to the manifest (column kind), name another "
            f"--config.data.noise_corpus, or go without: --config.augment.{kind}.probability=0."
        )


class _Order(NamedTuple):
    """The order of the windows, and how hosts share and read them. pairs: those of the global batch."""

    seed: int
    pairs: int
    read_threads: int
    prefetch: int

    def batches(self, windows: pipeline.TrainingWindows, reader: pipeline.ClipReader) -> pipeline.Stream:
        return pipeline.batches(
            len(windows.start),
            reader,
            seed=self.seed,
            pairs=self.pairs,
            host=jax.process_index(),
            hosts=jax.process_count(),
            read_threads=self.read_threads,
            prefetch=self.prefetch,
        )

    def numbers(self, windows: pipeline.TrainingWindows) -> pipeline.Stream:
        host, hosts = jax.process_index(), jax.process_count()
        return pipeline.numbers(len(windows.start), seed=self.seed, pairs=self.pairs, host=host, hosts=hosts)


class _Held(NamedTuple):
    """What is asked of validation. split: of its music. sounds_split: of its noise and responses."""

    wanted: bool
    tracks: int
    rows_per_track: int
    split: str
    sounds_split: str

    def is_in(self, music: corpus.Corpus) -> bool:
        return bool(music.select(kind="music", split=self.split))

    def examples(self, windows: pipeline.TrainingWindows, reader: pipeline.ClipReader) -> validation.Examples:
        return validation.examples(
            windows, reader, tracks=self.tracks, rows_per_track=self.rows_per_track, batch_size=VALIDATION_BATCH
        )

    @property
    def absent(self) -> str:
        return f"no music in split {self.split!r}: trains without validation, nothing is called best"


class _Plan(NamedTuple):
    """What the configuration asks for, in plain values. sounds_split: of the noise and responses of training."""

    pairs: str
    corpus: str
    noise_corpus: str
    split: str
    sounds_split: str
    noise_silence_db: float
    fraction: float
    on_device: str
    hop_s: float
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
    return _open_pairs(plan) if plan.pairs else _open_corpus(plan)


def _unpacked(config: ml_collections.ConfigDict, settings: augment.Settings) -> _Plan:
    """Unpacks the configuration. Nothing below this line sees it."""
    data, validate, rate_hz = config.data, config.validate, config.audio.sample_rate_hz
    hop = segments.to_samples(config.audio.hop_s, rate_hz)
    excerpt = segments.to_samples(validation.EXCERPT_S, rate_hz)
    return _Plan(
        pairs=data.pairs,
        corpus=data.corpus,
        noise_corpus=data.noise_corpus,
        split=data.train_split,
        sounds_split=data.noise_split,
        noise_silence_db=data.noise_silence_db,
        fraction=data.fraction,
        on_device=data.on_device,
        hop_s=config.audio.hop_s,
        cutter=_Cutter(settings, hop, data.silence_db, config.seed),
        order=_Order(config.seed, config.train.batch_size // 2, data.read_threads, data.prefetch),
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
    windows = plan.cutter.windows(music, split=plan.split, fraction=plan.fraction)
    reader = plan.cutter.reader(music, windows, noises=sounds.noises(plan.sounds_split))
    notes = [plan.describe(windows, plan.corpus)]
    banks = sounds.banks(plan.sounds_split)
    examples, validation_banks = _validation(plan, music, sounds, banks, notes)
    n_bytes = resident.n_bytes(music, windows, sounds.source, split=plan.sounds_split)
    if not lies_on_device(plan.on_device, n_bytes):
        return Data(windows, plan.order.batches(windows, reader), banks, examples, validation_banks, notes)
    notes.append(f"the recordings lie on the device: {n_bytes / 1e9:.2f} GB")
    recordings = resident.load(
        plan.cutter.settings,
        music,
        windows,
        sounds.source,
        split=plan.sounds_split,
        kinds=sounds.kinds("noise", "speech"),
        silence_db=plan.noise_silence_db,
    )
    banks = banks._replace(recordings=recordings)
    return Data(windows, plan.order.numbers(windows), banks, examples, validation_banks, notes)


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
    static, cutter = static_pairs.Pairs(plan.pairs), plan.cutter
    _check_rate(static.corpus, cutter.settings.sample_rate_hz)
    windows = cutter.windows(static.corpus, split=plan.split, fraction=plan.fraction)
    reader = cutter.reader(static.corpus, windows, static=static)
    notes = [f"{plan.describe(windows, plan.pairs)}, {len(static.variants)} variants"]
    examples, validation_banks = None, step.Banks(None, None)
    if plan.held.wanted and plan.corpus:
        music, sounds = _corpora(plan)
        examples, validation_banks = _validation(plan, music, sounds, sounds.banks(plan.sounds_split), notes)
    elif plan.held.wanted and plan.held.is_in(static.corpus):
        held = cutter.windows(static.corpus, split=plan.held.split)
        examples = plan.held.examples(held, cutter.reader(static.corpus, held, static=static))
    elif plan.held.wanted:
        notes.append(plan.held.absent)
    stream = plan.order.batches(windows, reader)
    return Data(windows, stream, step.Banks(None, None), examples, validation_banks, notes)


def _validation(
    plan: _Plan, music: corpus.Corpus, sounds: _Sounds, banks: step.Banks, notes: list[str]
) -> tuple[validation.Examples | None, step.Banks]:
    """Returns the validation clips, or None, and their responses. banks: those of training.

    Adds to `notes` where the validation differs from what is asked for.
    """
    if not plan.held.wanted:
        return None, banks
    if not plan.held.is_in(music):
        notes.append(plan.held.absent)
        return None, banks
    windows = plan.cutter.windows(music, split=plan.held.split)
    split = plan.held.sounds_split
    if lacking := sounds.lacking(split):
        notes.append(f"no {', '.join(lacking)} in split {split!r}: validates with those of {plan.sounds_split!r}")
        split = plan.sounds_split
    reader = plan.cutter.reader(music, windows, noises=sounds.noises(split))
    return plan.held.examples(windows, reader), sounds.banks(split)


def _corpora(plan: _Plan) -> tuple[corpus.Corpus, _Sounds]:
    if not plan.corpus:
        raise errors.Invalid(
            "config.data.corpus is empty: name a folder that `nafp corpus build` wrote, --config.data.corpus=CORPUS."
        )
    music = corpus.Corpus.open(plan.corpus)
    source = corpus.Corpus.open(plan.noise_corpus) if plan.noise_corpus else music
    for folder in (music, source):
        _check_rate(folder, plan.cutter.settings.sample_rate_hz)
    return music, _Sounds(source, plan.cutter.settings, plan.noise_silence_db)


def _check_rate(folder: corpus.Corpus, sample_rate_hz: int) -> None:
    if folder.sample_rate_hz != sample_rate_hz:
        raise errors.Invalid(
            f"{folder.folder} was built at {folder.sample_rate_hz} Hz, config.audio.sample_rate_hz is "
            f"{sample_rate_hz}. Build it again with --sample_rate_hz={sample_rate_hz}."
        )
