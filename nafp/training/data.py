"""Configuration -> what a run trains and validates on. What can be wrong with it is said here, at the door."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import banks as acoustics
from nafp.corpora import corpus, static_pairs
from nafp.training import augment, pipeline, resident, step, validation


class Data(NamedTuple):
    """Training windows and their stream, responses, and the validation examples (None without a validation split)."""

    windows: pipeline.Windows
    stream: Any
    banks: step.Banks
    held: validation.Examples | None
    held_banks: step.Banks
    notes: list[str]


def open_data(config: ml_collections.ConfigDict, cut: augment.Settings) -> Data:
    """Opens corpora and starts the stream. Raises FileNotFoundError or ValueError naming the setting to change."""
    if config.data.pairs:
        return _open_pairs(config, cut)
    music, sounds = _corpora(config)
    listed = _windows(config, cut, music, split=config.data.train_split, fraction=config.data.fraction)
    reader = _reader(config, cut, music, sounds, listed, noise_split=config.data.noise_split)
    notes = [_describe(config, listed, config.data.corpus)]
    banks = _banks(config, cut, sounds, split=config.data.noise_split)
    held, held_banks = _validation(config, cut, music, sounds, banks, notes)
    if _on_device(config, music, listed, sounds, notes):
        banks = banks._replace(recordings=_laid(config, cut, music, listed, sounds))
        stream = pipeline.numbers(len(listed.start), **_order(config))
    else:
        stream = _stream(config, listed, reader)
    return Data(listed, stream, banks, held, held_banks, notes)


def _on_device(config, music, listed, sounds, notes: list[str]) -> bool:
    """Decides where the recordings lie; auto: on an accelerator of whose memory they take a quarter at most."""
    wanted = config.data.on_device
    size = resident.n_bytes(music, listed, sounds, split=config.data.noise_split)
    stats = jax.local_devices()[0].memory_stats() or {}
    there = stats.get("bytes_limit", 0) if jax.default_backend() != "cpu" else 0
    if wanted == "no" or (wanted == "auto" and 4 * size > there):
        return False
    notes.append(f"the recordings lie on the device: {size / 1e9:.2f} GB")
    return True


def _laid(config, cut, music, listed, sounds) -> resident.Laid:
    return resident.lay(
        cut,
        music,
        listed,
        sounds,
        split=config.data.noise_split,
        kinds=_added(config),
        silence_db=config.data.noise_silence_db,
    )


def _open_pairs(config: ml_collections.ConfigDict, cut: augment.Settings) -> Data:
    """Opens a static set: nothing is degraded online, so there are no banks."""
    static = static_pairs.Pairs(config.data.pairs)
    _check_rate(config, static.corpus)
    nothing = step.Banks(None, None)

    def open_split(split: str, fraction: float = 1.0) -> tuple[pipeline.Windows, pipeline.Reader]:
        listed = _windows(config, cut, static.corpus, split=split, fraction=fraction)
        reader = pipeline.Reader(
            static.corpus,
            listed,
            segment=cut.segment,
            context=cut.context,
            margin=cut.margin,
            seed=config.seed,
            variants=static.variants,
        )
        return listed, reader

    listed, reader = open_split(config.data.train_split, config.data.fraction)
    notes = [f"{_describe(config, listed, config.data.pairs)}, {len(static.variants)} variants"]
    held, held_banks = None, nothing
    if config.validate.every_epochs and config.data.corpus:
        music, sounds = _corpora(config)
        banks = _banks(config, cut, sounds, split=config.data.noise_split)
        held, held_banks = _validation(config, cut, music, sounds, banks, notes)
    elif config.validate.every_epochs:
        if static.corpus.select(kind="music", split=config.data.val_split):
            held = _examples(config, cut, *open_split(config.data.val_split))
        else:
            notes.append(_unvalidated(config))
    return Data(listed, _stream(config, listed, reader), nothing, held, held_banks, notes)


def _windows(config, cut, music, *, split: str, fraction: float = 1.0) -> pipeline.Windows:
    return pipeline.windows(
        music,
        split=split,
        segment=cut.segment,
        hop=segments.to_samples(config.audio.hop_s, config.audio.sample_rate_hz),
        silence_db=config.data.silence_db,
        fraction=fraction,
    )


def _stream(config, listed: pipeline.Windows, reader: pipeline.Reader) -> Any:
    return pipeline.batches(
        len(listed.start),
        reader,
        read_threads=config.data.read_threads,
        prefetch=config.data.prefetch,
        **_order(config),
    )


def _order(config: ml_collections.ConfigDict) -> dict[str, int]:
    return dict(
        seed=config.seed,
        pairs=config.train.batch_size // 2,
        host=jax.process_index(),
        hosts=jax.process_count(),
    )


def _describe(config: ml_collections.ConfigDict, listed: pipeline.Windows, folder: str) -> str:
    n_windows, n_tracks = len(listed.start), len(np.unique(listed.track))
    hours = n_windows * config.audio.hop_s / 3600
    return f"{n_tracks} tracks, {n_windows} windows ({hours:.1f} h) from {folder}"


def _corpora(config: ml_collections.ConfigDict) -> tuple[corpus.Corpus, corpus.Corpus]:
    if not config.data.corpus:
        raise errors.Invalid(
            "config.data.corpus is empty: name a folder that `nafp corpus build` wrote, --config.data.corpus=CORPUS."
        )
    music = corpus.Corpus.open(config.data.corpus)
    sounds = corpus.Corpus.open(config.data.noise_corpus) if config.data.noise_corpus else music
    for opened in (music, sounds):
        _check_rate(config, opened)
    return music, sounds


def _check_rate(config: ml_collections.ConfigDict, opened: corpus.Corpus) -> None:
    if opened.sample_rate_hz != config.audio.sample_rate_hz:
        raise errors.Invalid(
            f"{opened.folder} was built at {opened.sample_rate_hz} Hz, config.audio.sample_rate_hz is "
            f"{config.audio.sample_rate_hz}. Build it again with --sample_rate_hz={config.audio.sample_rate_hz}."
        )


def _reader(config, cut, music, sounds, listed, *, noise_split: str) -> pipeline.Reader:
    found = {kind: _noise(config, cut, sounds, kind=kind, split=noise_split) for kind in _added(config)}
    return pipeline.Reader(
        music,
        listed,
        segment=cut.segment,
        context=cut.context,
        margin=cut.margin,
        seed=config.seed,
        **found,
    )


def _added(config: ml_collections.ConfigDict) -> list[str]:
    """Lists what is mixed into replicas: of noise and speech, those that the configuration asks for."""
    both = ("noise", "speech") if config.augment.enabled else ()
    return [kind for kind in both if config.augment[kind].probability > 0]


def _noise(config, cut, sounds, *, kind: str, split: str) -> pipeline.Noise:
    source = pipeline.noise_source(
        sounds,
        kind=kind,
        split=split,
        n_samples=cut.context + cut.segment,
        silence_db=config.data.noise_silence_db,
    )
    if source is None:
        raise errors.Invalid(_missing(config, sounds, kind=kind, split=split))
    return source


def _missing(config, sounds, *, kind: str, split: str) -> str:
    return (
        f"config.augment.{kind}.probability={config.augment[kind].probability}, but "
        f"{sounds.folder} has no {kind} in split {split!r} (it has {sounds.summary()}). "
        "Add some to the manifest (column kind), name another "
        f"--config.data.noise_corpus, or go without: --config.augment.{kind}.probability=0."
    )


def _banks(config, cut, sounds, *, split: str) -> step.Banks:
    banks = []
    for kind in ("room", "microphone"):
        setting = config.augment[kind]
        if not config.augment.enabled or not setting.probability:
            banks.append(None)
            continue
        if not sounds.select(kind=kind, split=split):
            raise errors.Invalid(_missing(config, sounds, kind=kind, split=split))
        n_samples = segments.to_samples(setting.seconds, config.audio.sample_rate_hz)
        responses = acoustics.response_bank(sounds, kind=kind, split=split, n_samples=n_samples)
        banks.append(augment.bank(responses, clip_samples=cut.context + cut.segment, kept_samples=cut.segment))
    return step.Banks(*banks)


def _validation(config, cut, music, sounds, banks, notes):
    if not config.validate.every_epochs:
        return None, banks
    if not music.select(kind="music", split=config.data.val_split):
        notes.append(_unvalidated(config))
        return None, banks
    listed = _windows(config, cut, music, split=config.data.val_split)
    split = config.data.val_noise_split
    wanted = [k for k in ("noise", "speech", "room", "microphone") if config.augment[k].probability > 0]
    lacking = [k for k in wanted if not sounds.select(kind=k, split=split)]
    if lacking:
        notes.append(f"no {', '.join(lacking)} in split {split!r}: validates with those of {config.data.noise_split!r}")
        split = config.data.noise_split
    reader = _reader(config, cut, music, sounds, listed, noise_split=split)
    held = _examples(config, cut, listed, reader)
    return held, _banks(config, cut, sounds, split=split)


def _unvalidated(config: ml_collections.ConfigDict) -> str:
    return f"no music in split {config.data.val_split!r}: trains without validation, nothing is called best"


def _examples(config, cut: augment.Settings, listed: pipeline.Windows, reader: pipeline.Reader) -> validation.Examples:
    rows = segments.count(
        segments.to_samples(validation.EXCERPT_S, config.audio.sample_rate_hz),
        segment=cut.segment,
        hop=segments.to_samples(config.audio.hop_s, config.audio.sample_rate_hz),
    )
    return validation.examples(listed, reader, tracks=config.validate.tracks, rows_per_track=rows, batch_size=64)
