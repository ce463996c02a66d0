"""Chooses the calibration of a network: what turns its scores into probabilities."""

from __future__ import annotations

from collections.abc import Callable

from nafp.search import confidence
from nafp.weights import model_folders, sources


def chosen(file: str | None, otherwise: Callable[[], confidence.Confidence | None]) -> confidence.Confidence | None:
    """Opens the calibration in `file`, or takes that of `otherwise` if no file is named.

    Raises nafp.errors.NotFound for a file that is not there, and nafp.errors.Invalid for one that is no calibration.
    """
    return otherwise() if file is None else confidence.Confidence.load(file)


def beside(source: str | None) -> confidence.Confidence | None:
    """Opens the calibration that lies beside the weights of a network. None if there is none.

    source: as for `sources.load`, None for the network that is taken where none is named.
    """
    path = model_folders.calibration_file(sources.weights_file(source or sources.DEFAULT))
    return confidence.Confidence.load(path) if path.is_file() else None
