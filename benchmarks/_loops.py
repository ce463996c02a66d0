"""Tells places that hold the same music again, as loops do, from places that are wrong."""

import numpy as np

from nafp.search import collection, transposed

# Mean cosine of fingerprints from which two places of a track count as the same music.
ALIKE = 0.9
_HOPS = np.arange(-1, 1.01, 0.25)  # By which the other place may be off, in rows: half a second.


def likeness(rows: collection.Collection, track: int, true_s: float, other_s: float, *, seconds: float) -> float:
    """Returns the mean cosine between the fingerprints at two places of a track, over a length of music.

    track: by position. Rows are mixed between two of them, and the other place is moved by up to half a second to where
    it is most alike. What lies beyond the track is left out.
    """
    low, high = (int(edge[0]) for edge in rows.borders(np.array([track])))
    n_rows = max(1, round((seconds - 1) / rows.hop_s) + 1)  # A segment is a second.
    true = low + true_s / rows.hop_s + np.arange(n_rows)
    return max(_alike(rows, true, true + (other_s - true_s) / rows.hop_s + moved, low, high) for moved in _HOPS)


def _alike(rows: collection.Collection, one: np.ndarray, other: np.ndarray, low: int, high: int) -> float:
    inside = (np.minimum(one, other) >= low) & (np.maximum(one, other) < high - 1)
    if not inside.any():
        return 0.0
    edges = np.full(int(inside.sum()), low), np.full(int(inside.sum()), high)
    there = transposed.mixed(rows, one[inside])
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    return float(transposed.between(rows, other[inside], there, *edges).mean())
