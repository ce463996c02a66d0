"""Renders single seconds as pairs of spectrograms to train from (see nafp.corpora.spectrogram_pairs).

A few seconds of each recording are drawn, each is degraded once, and the two are stored as spectrograms. This is the
static method of the song_mine system.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.audio import decode
from nafp.corpora import spectrogram_pairs
from nafp.jobs import outputs, processors, progress, whole_files

from . import folder, material, pairs, rendering

SEGMENTS = 5  # Seconds of each recording.
_SAMPLED = 3  # Recordings whose seconds are kept as sound, too.


class _Pair(NamedTuple):
    """A second that is to be rendered.

    file: where its spectrograms go. sample: where its sounds go, without suffix, None for nowhere.
    """

    part: pairs.RecordingPart
    file: pathlib.Path
    sample: pathlib.Path | None


def render(
    source: material.Material,
    noise: material.Material,
    out: str | os.PathLike,
    *,
    spectrogram: Callable[[np.ndarray], np.ndarray],
    splits: Sequence[str] = ("train",),
    noise_split: str = "",
    names: Sequence[str] = pairs.CONDITIONS,
    count: int = 0,
    segments: int = SEGMENTS,
    sample_rate_hz: int = 8000,
    seed: int = 0,
    jobs: int = 0,
    show: bool = False,
) -> str:
    """Renders up to `segments` seconds of every recording of the splits, and returns a summary to print.

    spectrogram: turns segments [n, S] in -1..1 into spectrograms [n, F, T]. splits: train and val. Seconds of silence
    are left out. Files that exist stay, so that an interrupted set is continued. The other parameters and the errors
    are those of `pairs.render`. Raises errors.AlreadyExists for a set of other settings too.
    """
    out = pathlib.Path(out)
    if strange := set(splits) - set(spectrogram_pairs.SETS):
        raise errors.Invalid(f"--split={','.join(strange)}: song_mine's sets have {', '.join(spectrogram_pairs.SETS)}")
    if segments < 1:
        raise errors.Invalid(f"--segments={segments}: must be at least 1")
    chain = rendering.parse(names, unshifted=True)
    surroundings = pairs.surroundings_by_split(noise, chain, splits, noise_split)
    pieces = [piece for split in splits for piece in pairs.chosen(source, split, count, seed)]
    material.require_unique(source, pieces)

    def render_pair(pair: _Pair) -> bool:
        if pair.file.exists():
            return True
        here = surroundings[pair.part.piece.split]
        rendered = pairs.rendered_part(source, pair.part, chain, here, 1, sample_rate_hz, seed)
        if rendered.clean is None or not rendered.details[0]["condition"]:
            return False  # Silence, or beyond the end of a damaged file.
        sounds = np.stack([decode.to_float(samples) for samples in (rendered.clean, rendered.variants[0])])
        if pair.sample:
            for sound, end in zip(sounds, ("", "_augmented")):
                decode.write_wav(f"{pair.sample}{end}.wav", sound, sample_rate_hz=sample_rate_hz)
        with whole_files.opened(pair.file, "wb") as file:
            np.save(file, spectrogram(sounds).astype(np.float32))
        return True

    wanted = [pair for number, piece in enumerate(pieces) for pair in _pairs(out, number, piece, segments, seed)]
    _require_ours(out, splits, wanted)
    made_how = {"names": list(names), "segments": segments, "seed": seed, "sample_rate_hz": sample_rate_hz}
    made_how |= {"noise": folder.digest(noise.pieces), "source": os.path.abspath(source.path)}
    made_how |= {"noise_split": noise_split} if noise_split else {}
    for split in splits:
        numbered = [(number, piece) for number, piece in enumerate(pieces) if piece.split == split]
        of_split = {"first": numbered[0][0] if numbered else 0, "pieces": folder.digest([p for _, p in numbered])}
        spectrogram_pairs.note_settings(out, split, made_how | of_split)
    for name in (spectrogram_pairs.SAMPLES, *(spectrogram_pairs.SETS[split] for split in splits)):
        (out / name).mkdir(parents=True, exist_ok=True)
    with (
        futures.ThreadPoolExecutor(jobs or processors.count()) as pool,
        progress.Progress(len(wanted), "seconds", label="pairs", show=show) as bar,
    ):
        made = []
        for pair, is_made in zip(wanted, pool.map(render_pair, wanted), strict=True):
            made += [pair] if is_made else []
            bar.add(1)
    _write_tables(out, splits, made)
    return f"{out}: {len(made)} pairs of spectrograms of {len(pieces)} recordings"


def _require_ours(out: pathlib.Path, splits: Sequence[str], wanted: Sequence[_Pair]) -> None:
    """Raises errors.Invalid if a file that would be replaced, or taken for a pair, was not written here."""
    for split in splits:
        table = out / spectrogram_pairs.TABLES[split]
        outputs.require(table, verb="nafp queries pairs", is_former=outputs.begins_with(b"{"))
    for pair in wanted:
        outputs.require(pair.file, verb="nafp queries pairs", is_former=outputs.begins_with(b"\x93NUMPY"))


def _pairs(out: pathlib.Path, number: int, piece: material.Piece, segments: int, seed: int) -> Iterable[_Pair]:
    """Draws the seconds of a recording."""
    n_seconds = int(piece.n_samples / piece.sample_rate_hz)
    drawn = np.random.default_rng([seed, number]).permutation(n_seconds)[:segments]
    place = out / spectrogram_pairs.SETS[piece.split]
    for second in sorted(drawn.tolist()):
        part = pairs.RecordingPart(number, piece, second, n_seconds, float(second), 1.0)
        name = f"{material.stem(piece.name)}_{second}"
        sample = out / spectrogram_pairs.SAMPLES / name if number < _SAMPLED else None
        yield _Pair(part, place / f"{name}.npy", sample)


def _write_tables(out: pathlib.Path, splits: Sequence[str], made: Sequence[_Pair]) -> None:
    for split in splits:
        table: dict[str, list[str]] = {}
        for pair in (pair for pair in made if pair.part.piece.split == split):
            name = os.path.basename(pair.part.piece.name)
            table.setdefault(name, []).append(f"{pair.file.stem}{os.path.splitext(name)[1]}")
        with whole_files.opened(out / spectrogram_pairs.TABLES[split], encoding="utf-8") as file:
            json.dump(table, file, indent=1)
