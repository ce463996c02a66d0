"""Lines through a track: where in it consecutive query rows are, and how fast it passes.

A line says at which row of a track each query row is: place + slope * step * (row - middle). That is mostly between two
rows of the track. The fingerprint there is taken to be their weighted mean, brought to unit length. On clean music it
agrees with a fingerprint computed there by a cosine of 0.955, where the nearest row agrees by 0.908.
"""

from typing import NamedTuple

import numpy as np

from nafp.search import collection


class Fit(NamedTuple):
    """The best line of each of P candidates through n query rows.

    tracks: int64 [P]. places: float64 [P], row of the track at the middle query row. slopes: float64 [P], 1 at the
    track's own speed. cosines: float32 [P, n], 0 beyond the track's ends. levels: float32 [P], mean cosine off the
    line. vectors: float32 [P, n, D], what the track has along the line, 0 beyond its ends.
    """

    tracks: np.ndarray
    places: np.ndarray
    slopes: np.ndarray
    cosines: np.ndarray
    levels: np.ndarray
    vectors: np.ndarray


def propose(
    neighbours: np.ndarray,
    cosines: np.ndarray,
    rows: collection.Collection,
    *,
    step: float,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lines of slope 1 that most neighbours of n query rows lie on, most votes first.

    neighbours: int64 [n, K], -1 for none. cosines: float32 [n, K], the weights of the votes. step: rows of a track that
    pass from one query row to the next. most: lines to return at most. Returns tracks int64 [P] and places float64 [P],
    the row of the track at the middle query row. A line takes votes from a width of two rows: at 6 % more or less speed
    the neighbours of 8 s stay within it.
    """
    number, column = np.nonzero(neighbours >= 0)
    if not len(number):
        return np.empty(0, np.int64), np.empty(0)
    near = neighbours[number, column]
    middle = (len(neighbours) - 1) / 2
    places = near - step * (number - middle)
    tracks = rows.track_of(near)
    bins = np.floor(places).astype(np.int64)
    weights = np.maximum(cosines[number, column], 0)
    span = int(rows.edges[-1]) + 4 * len(neighbours) + 4
    key = tracks * 2 * span + bins + span // 2  # A bin is of one track only.
    names, first, which = np.unique(key, return_index=True, return_inverse=True)
    votes = np.bincount(which, weights)
    means = np.bincount(which, weights * places) / np.maximum(votes, 1e-9)
    beside = np.flatnonzero(names[1:] - names[:-1] == 1)
    joint = votes.copy()
    joint[beside] += votes[beside + 1]
    centres = means.copy()
    centres[beside] = (votes[beside] * means[beside] + votes[beside + 1] * means[beside + 1]) / (
        np.maximum(joint[beside], 1e-9)
    )
    first_rows, _ = rows.borders(tracks[first])
    chosen: list[int] = []
    for line in np.argsort(-joint, kind="stable")[: 4 * most].tolist():
        if all(abs(names[line] - names[other]) > 1 for other in chosen):
            chosen.append(line)
        if len(chosen) == most:
            break
    return tracks[first][chosen], centres[chosen] - first_rows[chosen]


def fit(
    query: np.ndarray,
    tracks: np.ndarray,
    places: np.ndarray,
    rows: collection.Collection,
    *,
    step: float,
    slopes: np.ndarray,
    offsets: np.ndarray,
    apart: float,
) -> Fit:
    """Finds for each candidate the line with the largest sum of positive cosines.

    query: float32 [n, D]. tracks, places: [P], the candidates. step: rows of a track from one query row to the next.
    slopes: [L] or [P, L], those to try. offsets: [O], changes of each place to try, in rows. apart: rows of a track
    this far from each other have no sound in common.
    """
    n, n_candidates = len(query), len(tracks)
    if not n_candidates:
        empty = np.empty(0)
        shape = (0, n, query.shape[1])
        nothing = np.empty(shape, np.float32)
        return Fit(np.asarray(tracks, np.int64), empty, empty, nothing[..., 0], empty, nothing)
    slopes = np.broadcast_to(np.atleast_2d(slopes), (n_candidates, np.shape(slopes)[-1]))
    lags = step * (np.arange(n) - (n - 1) / 2)
    reach = float(np.abs(slopes).max() * lags[-1] + np.abs(offsets).max()) + 2
    base = np.floor(places - reach).astype(np.int64)
    width = int(2 * reach) + 4
    band = _band(tracks, base, width, rows)  # [P, W, D]
    products = np.matmul(band, query.T)  # [P, W, n]
    beside = np.vecdot(band[:, :-1], band[:, 1:])  # [P, W-1]
    squares = np.vecdot(band, band)  # 1, or 0 beyond the ends
    lines = (slopes[:, :, None] * lags)[:, :, None, :] + offsets[:, None]  # [P, L, O, n]
    lines = lines.reshape(n_candidates, -1, n) + (places - base)[:, None, None]
    cosines = _along(products, beside, squares, lines)
    best = np.maximum(cosines, 0).sum(axis=2).argmax(axis=1)
    candidates = np.arange(n_candidates)
    return Fit(
        np.asarray(tracks, np.int64),
        places + np.asarray(offsets)[best % len(offsets)],
        slopes[candidates, best // len(offsets)],
        cosines[candidates, best],
        _level(products, lines[candidates, best], squares, apart),
        _between(band, lines[candidates, best]),
    )


def at(track: int, places: np.ndarray, rows: collection.Collection) -> np.ndarray:
    """Returns what a track has at places between its rows, float32 [n, D]. Zeros beyond its ends."""
    low = np.floor(places).astype(np.int64)
    band = _band(np.full(len(low), track), low, 2, rows)  # [n, 2, D]
    return _between(band, (places - low)[:, None])[:, 0]


def likeness(first: np.ndarray, second: np.ndarray, *, apart: int) -> np.ndarray:
    """Returns how alike two lines are, row by row, [n]: 1 for equal rows, 0 for no more alike than unrelated rows.

    first, second: float32 [n, D]. apart: rows this far from each other have no sound in common.
    """
    products = first @ second.T
    rows = np.arange(len(first))
    elsewhere = products[np.abs(rows[:, None] - rows) >= apart]
    level = max(0.0, float(elsewhere.mean())) if len(elsewhere) else 0.0
    return np.maximum(np.diagonal(products) - level, 0) / max(1 - level, 0.05)


def _band(tracks: np.ndarray, base: np.ndarray, width: int, rows: collection.Collection) -> np.ndarray:
    """Reads W = width rows from row `base` of each track on, float32 [P, W, D]. Zeros beyond its ends."""
    first_rows, end_rows = rows.borders(np.asarray(tracks, np.int64))
    band = rows.windows(first_rows + base, width)
    places = (first_rows + base)[:, None] + np.arange(width)
    band[(places < first_rows[:, None]) | (places >= end_rows[:, None])] = 0
    return band


def _along(products: np.ndarray, beside: np.ndarray, squares: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Returns the cosines of n query rows with what a band has along C lines, [P, C, n].

    products: [P, W, n], of band and query. beside: [P, W-1], of each two rows of the band. squares: [P, W], squared
    lengths of its rows. lines: [P, C, n], rows of the band.
    """
    low = np.floor(lines).astype(np.int64)
    share = (lines - low).astype(np.float32)
    candidates = np.arange(len(lines))[:, None, None]
    query = np.arange(lines.shape[-1])
    product = (1 - share) * products[candidates, low, query] + share * products[candidates, low + 1, query]
    square = (
        (1 - share) ** 2 * squares[candidates, low]
        + share**2 * squares[candidates, low + 1]
        + 2 * share * (1 - share) * beside[candidates, low]
    )
    return product / np.sqrt(np.maximum(square, 0.25))  # Opposite rows have no mean.


def _level(products: np.ndarray, lines: np.ndarray, squares: np.ndarray, apart: float) -> np.ndarray:
    """Returns the mean cosine of query rows with rows of the track that do not sound at the same time, [P]."""
    is_off = np.abs(np.arange(products.shape[1])[:, None] - lines[:, None]) > apart  # [P, W, n]
    is_off &= squares[:, :, None] > 0
    counts = np.maximum(is_off.sum(axis=(1, 2)), 1)
    return ((products * is_off).sum(axis=(1, 2)) / counts).astype(np.float32)


def _between(band: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Returns what a band has along one line for each candidate, [P, n, D], of unit length or 0."""
    low = np.floor(lines).astype(np.int64)
    share = (lines - low).astype(np.float32)[..., None]
    candidates = np.arange(len(lines))[:, None]
    vectors = (1 - share) * band[candidates, low] + share * band[candidates, low + 1]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 0.5)
