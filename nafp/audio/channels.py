"""Several channels become one."""

import numpy as np

_OPPOSITE = 1000.0  # Power of what cancels over that of what is left (pfann). 30 dB: no music comes near it.


def averaged(piece: np.ndarray) -> np.ndarray:
    """Averages the channels of a piece [n, C] -> [n]. Where they cancel each other, some are inverted first.

    Each piece, of one second, is decided by itself. A file of opposite polarity is repaired throughout, and a song that
    opens with a wide stereo effect keeps its voices, which are equal in both channels.
    """
    n_channels = piece.shape[1]
    if n_channels == 1:
        return np.ascontiguousarray(piece[:, 0])
    if n_channels > 2:
        plain = piece.mean(axis=1, dtype=np.float32)
        return _aligned(piece, plain)
    total, difference = piece[:, 0] + piece[:, 1], piece[:, 0] - piece[:, 1]
    opposite = _power(difference) > _OPPOSITE * _power(total)
    return (difference if opposite else total) * np.float32(0.5)


def _aligned(piece: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Averages channels [n, C], those opposite to the loudest inverted, unless that is hardly louder than `plain` [n].

    plain: their plain average.
    """
    powers = np.einsum("nc,nc->c", piece, piece)
    if powers.mean() <= _OPPOSITE * _power(plain):  # No average has more power than the mean of the powers.
        return plain
    likeness = piece.T @ piece[:, powers.argmax()]  # [C]
    signs = np.where(likeness < 0, np.float32(-1), np.float32(1))
    aligned = piece @ (signs * signs[0] / np.float32(len(signs)))  # The first keeps its polarity: seconds join.
    return aligned if _power(aligned) > _OPPOSITE * _power(plain) else plain


def _power(samples: np.ndarray) -> float:
    return np.einsum("i,i->", samples, samples)
