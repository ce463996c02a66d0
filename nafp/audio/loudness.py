"""The loudness of each half second of a corpus, so that silence is avoided without reading audio.

Entry k of the table is the RMS of samples [k * cell, (k + 1) * cell) of the corpus file, in dB relative to a full-scale
square wave (20 log10(rms / 32768)), as float16, at least -120. A cell is 0.5 s. Every track starts on a new cell, and
zeros fill its last cell.
"""

import numpy as np

CELL_S = 0.5
FLOOR_DB = -120.0
_CELLS_AT_ONCE = 512


def measure(samples: np.ndarray, *, cell: int) -> np.ndarray:
    """Returns the loudness of int16 samples [S] in dB, float16 [S / cell]. S is a multiple of `cell`."""
    cells = samples.reshape(-1, cell)
    parts = [cells[at : at + _CELLS_AT_ONCE] for at in range(0, len(cells), _CELLS_AT_ONCE)]
    power = [np.square(part, dtype=np.float32).mean(axis=1) for part in parts]
    return to_db(np.concatenate([*power, np.empty(0, np.float32)]) / 32768.0**2).astype(np.float16)


def to_db(power: np.ndarray) -> np.ndarray:
    """Converts the power of samples in -1..1 to dB, -120 for silence."""
    return 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


class WindowLoudness:
    """Computes the loudness of any window of a corpus from its table, without reading audio.

    table: the loudness of the cells [C] in dB. A window of whole cells is exact. A cell that a window covers in part
    counts with the covered share of its power.
    """

    def __init__(self, table: np.ndarray, *, cell: int):
        power = np.where(table > FLOOR_DB, 10 ** (table.astype(np.float64) / 10), 0.0)
        self._sums, self._cell = np.concatenate([[0.0], np.cumsum(power)]), cell

    def db(self, first_samples: np.ndarray, *, n_samples: int) -> np.ndarray:
        """Returns the loudness of windows of n_samples in dB, float64 [N]. first_samples: where they start, [N]."""
        first_samples = np.asarray(first_samples)
        energy = self._up_to(first_samples + n_samples) - self._up_to(first_samples)
        return to_db(energy * self._cell / n_samples)

    def _up_to(self, samples: np.ndarray) -> np.ndarray:
        whole, rest = np.divmod(samples, self._cell)
        after = self._sums[np.minimum(whole + 1, len(self._sums) - 1)]
        return self._sums[whole] + rest / self._cell * (after - self._sums[whole])
