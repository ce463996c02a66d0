"""Fingerprints rendered clips into a folder that the second stage trains on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np

from nafp import errors
from nafp.audio import decode, segments
from nafp.jobs import progress
from nafp.models import protocol
from nafp.sequences import clips


class Rendered(Protocol):
    """A clip as samples: int16 [versions, S], the clean one first. failure: why there are none, or empty."""

    @property
    def track(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def samples(self) -> np.ndarray: ...
    @property
    def failure(self) -> str: ...


class Report(NamedTuple):
    """Clips of a folder when all is done, and (clip, reason) of those that were left out."""

    n_clips: int
    failures: list[tuple[str, str]]


def fill(
    writer: clips.Writer, rendered: Iterable[Rendered], network: protocol.Network, *, total: int, show: bool = False
) -> Report:
    """Fingerprints clips and writes them. total: the clips that the folder shall have, with those that are there."""
    failures: list[tuple[str, str]] = []
    with progress.Progress(total, "clips", label="fingerprint", done=len(writer.places), show=show) as bar:
        for clip in rendered:
            if clip.failure:
                failures.append((f"{clip.track} from {clip.start_s:g} s", clip.failure))
            else:
                writer.append(clips.Place(clip.track, clip.start_s), fingerprints(clip.samples, network))
            bar.add()
    if not writer.places:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failures[:3])
        raise errors.Invalid(f"{os.fspath(writer.folder)}: not one clip could be made. {reasons}")
    return Report(len(writer.places), failures)


def fingerprints(samples: np.ndarray, network: protocol.Network) -> list[np.ndarray]:
    """Computes the fingerprints of all versions of a clip in one call: int16 [V, S] -> V times float32 [n, D]."""
    framed = [segments.frame(decode.to_float(version), segment=network.segment, hop=network.hop) for version in samples]
    return np.split(network(np.concatenate(framed)), len(samples))
