"""Batches of sequences to train on, drawn from a folder of clips.

The batch of a step follows from the seed and the step alone. A resumed run therefore goes on with the batches that an
uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nafp import errors
from nafp.sequences import chunks, clips, losses

Batch = dict[str, np.ndarray]


class Rules(NamedTuple):
    """How sequences are drawn.

    loss: the name of the loss. most: the rows of a padded sequence. batch_size: the number of examples in a batch.
    seed: everything random follows from it. low, high: the least and the largest margin, radians.
    """

    loss: str
    most: int
    batch_size: int
    seed: int
    low: float
    high: float


class Batches:
    """The batches of a run: {"rows": [S B, T, D], "mask": [S B, T], "label", "margin", "is_anchor": [B]}.

    S is the number of sequences of an example: 2 for info_nce (windows, then chunks), 3 for triplet (chunks, own
    windows, other clips' windows), else 1. n: the number of examples in a batch, B. per_epoch: the number of batches in
    an epoch. Examples that do not fill a last batch are left out of the epoch. dim: the numbers in a fingerprint, D.
    Raises nafp.errors.Invalid for clips that cannot be trained on.
    """

    def __init__(self, source: Sequence[clips.Clip], rules: Rules, *, dim: int):
        self._clips, self._rules, self.dim = source, rules, dim
        _require_trainable(source)
        self._items = _items(source, rules.loss)
        self.n = min(rules.batch_size, len(self._items))
        self.per_epoch = len(self._items) // self.n
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, int))

    def __getitem__(self, step: int) -> Batch:
        """Reads the batch of a step, counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self._rules.seed, epoch]).permutation(len(self._items))
        chosen = self._items[self._order[1][place * self.n : (place + 1) * self.n]]
        rng = np.random.default_rng([self._rules.seed, epoch, place])
        draw = {"info_nce": self._pair, "triplet": self._triplet}.get(self._rules.loss, self._example)
        examples = [draw(rng, int(clip), int(version)) for clip, version in chosen]
        return _stacked([sequences for sequences, _ in examples], self._rules.most, self.dim) | {
            "label": chosen[:, 0].astype(np.int32),
            "margin": np.array([margin for _, margin in examples], np.float32),
            "is_anchor": chosen[:, 1] == clips.CLEAN,
        }

    def centres(self) -> np.ndarray:
        """Returns the first values of the class centres: the mean fingerprint of each clean window, float32 [C, D]."""
        return np.stack([self._window(clip).mean(axis=0) for clip in range(len(self._clips))])

    def _example(self, rng: np.random.Generator, clip: int, version: int) -> tuple[list[np.ndarray], float]:
        if version == clips.CLEAN:
            return [self._window(clip)], self._rules.high
        rows, margin = self._chunk(rng, clip, version)
        return [rows], margin

    def _pair(self, rng: np.random.Generator, clip: int, version: int) -> tuple[list[np.ndarray], float]:
        rows, margin = self._chunk(rng, clip, version)
        return [self._window(clip), rows], margin

    def _triplet(self, rng: np.random.Generator, clip: int, version: int) -> tuple[list[np.ndarray], float]:
        rows, margin = self._chunk(rng, clip, version)
        other = (clip + 1 + int(rng.integers(len(self._clips) - 1))) % len(self._clips)
        return [rows, self._window(clip), self._window(other)], margin

    def _window(self, clip: int) -> np.ndarray:
        rows = self._read(clip, clips.CLEAN)
        first, n = chunks.window(len(rows), self._rules.most)
        return rows[first : first + n]

    def _chunk(self, rng: np.random.Generator, clip: int, version: int) -> tuple[np.ndarray, float]:
        rows = self._read(clip, version)
        chunk = chunks.drawn(len(rows), self._rules.most, size=rng.random(), place=rng.random())
        n_window = chunks.window(len(rows), self._rules.most)[1]
        margin = losses.margins(np.array(chunk.overlap), np.array(n_window), low=self._rules.low, high=self._rules.high)
        return rows[chunk.first : chunk.first + chunk.n_rows], float(margin)

    def _read(self, clip: int, version: int) -> np.ndarray:
        rows = clips.read(self._clips[clip].versions[version], dim=self.dim)
        if len(rows) < chunks.SHORTEST:
            path = self._clips[clip].versions[version]
            raise errors.Invalid(f"{path}: {len(rows)} rows; a clip to train on needs {chunks.SHORTEST}")
        return rows


def _require_trainable(source: Sequence[clips.Clip]) -> None:
    if len(source) < 2:
        raise errors.Invalid(f"{len(source)} clip to train on; two are needed to tell them apart")
    if bare := [clip.name for clip in source if not clip.degraded]:
        raise errors.Invalid(
            f"clip {bare[0]} has no degraded version, such as {bare[0]}-01.npy; make the clips with nafp amg clips, or "
            "raise config.data.versions to 2"
        )


def _items(source: Sequence[clips.Clip], loss: str) -> np.ndarray:
    """Returns the examples of an epoch, int [n, 2]: clip and version. With classes, clean versions are examples too."""
    first = 0 if loss in losses.WITH_CLASSES else 1
    return np.array([(i, version) for i, clip in enumerate(source) for version in range(first, len(clip.versions))])


def _stacked(examples: Sequence[Sequence[np.ndarray]], most: int, dim: int) -> Batch:
    """Pads the sequences [n, D] of examples: the first sequence of every example, then the second of every example."""
    return padded([rows for side in zip(*examples) for rows in side], most=most, dim=dim)


def padded(sequences: Sequence[np.ndarray], *, most: int, dim: int) -> Batch:
    """Pads sequences [n, D] with zeros: {"rows": float32 [B, most, D], "mask": bool [B, most]}."""
    rows, mask = np.zeros((len(sequences), most, dim), np.float32), np.zeros((len(sequences), most), bool)
    for number, sequence in enumerate(sequences):
        rows[number, : len(sequence)] = sequence
        mask[number, : len(sequence)] = True
    return {"rows": rows, "mask": mask}
