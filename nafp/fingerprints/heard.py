"""The tracks of a source, as a network is to hear them: at another speed, after a beginning, filled up."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nafp import errors
from nafp.audio import segments
from nafp.corpora import building, corpus, kinds
from nafp.jobs import shown
from nafp.models import protocol


def listed(source: str, sample_rate_hz: int, split: str | None) -> list[corpus.Source]:
    """Returns the tracks of a source, each once: a playlist may repeat a track, a store may not."""
    tracks = corpus.sources(source, sample_rate_hz=sample_rate_hz, split=split)
    once = list({track.name: track for track in tracks}.values())
    if len(once) < len(tracks):
        print(shown.plain(f"{source}: {len(tracks) - len(once)} of {len(tracks)} tracks are repetitions"))
    return once


def at_hop(network: protocol.Network, hop_s: float | None) -> protocol.Network:
    """Returns the network at this hop in seconds, None for its own. Raises errors.Invalid for less than a sample."""
    if hop_s is None:
        return network
    hop = segments.to_samples(hop_s, network.sample_rate_hz)
    if hop < 1:
        raise errors.Invalid(f"--hop_s={hop_s:g}: must be at least one sample, {1 / network.sample_rate_hz:g} s")
    return network.at_hop(hop)


def require_speed(speed: float) -> None:
    """Raises errors.Invalid for a speed that is not undone."""
    if not 0.5 <= speed <= 2:
        raise errors.Invalid(f"speed {speed:g}: must be 0.5 to 2; 1.04 undoes a clip that plays 4 % too fast")


def rate_at(source: str, sample_rate_hz: int, speed: float) -> int:
    """Returns the rate at which to decode audio so that its speed is undone when it is taken for `sample_rate_hz`."""
    require_speed(speed)
    if speed != 1 and building.is_corpus(source):
        raise errors.Invalid(
            f"{source}: is a corpus, decoded already; only files can be heard at other speeds, such as those of "
            "nafp queries render (--source=QUERIES/list.txt)"
        )
    return round(sample_rate_hz * speed)


def after_its_beginning(track: corpus.Source, *, n_heard: int, n_samples: int) -> corpus.Source:
    """Returns the track after a copy of its first n_heard samples, filled up with silence to n_samples.

    A track that has fewer samples stays as it is.
    """

    def blocks() -> Iterator[np.ndarray]:
        rest, held, n_held = track.blocks(), [np.empty(0, np.float32)], 0
        while n_held < n_heard and (block := next(rest, None)) is not None:
            held.append(block)
            n_held += len(block)
        beginning = np.concatenate(held)[:n_heard]
        if len(beginning) == n_heard:
            yield np.pad(beginning, (0, n_samples - n_heard))
        yield from held[1:]
        yield from rest

    return track._replace(blocks=blocks)


def filled_up(tracks: list[corpus.Source], *, short: str, n_samples: int) -> list[corpus.Source]:
    """Returns the tracks, of which those with fewer than n_samples are filled up with silence.

    short: "pad" for all tracks, "skip" for none, "auto" for those in the original's tree of folders, whose numbers of
    rows count on it. A track without any audio stays as it is.
    """
    is_wanted = {"pad": lambda name: True, "skip": lambda name: False, "auto": kinds.is_original}[short]
    return [_filled_up(track, n_samples) if is_wanted(track.name) else track for track in tracks]


def _filled_up(track: corpus.Source, n_samples: int) -> corpus.Source:
    def blocks() -> Iterator[np.ndarray]:
        n_heard = 0
        for block in track.blocks():
            n_heard += len(block)
            yield block
        if 0 < n_heard < n_samples:
            yield np.zeros(n_samples - n_heard, np.float32)

    return track._replace(blocks=blocks)
