"""audfprint, the landmarks of D. Ellis (pairs of spectral peaks), as on PyPI and with its own defaults.

pip install audfprint2 (into an environment of its own if it must not touch this one)

Two things differ from its command line. It gets samples instead of starting ffmpeg for each file. Its table counts
times up to 25 minutes (--maxtimebits 16), because by default times wrap around after 6 minutes.
"""

import importlib.metadata
import importlib.util
import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import rivals
from nafp import errors

_TIME_BITS = 16


def installed() -> bool:
    """Returns whether audfprint2 can be imported."""
    return importlib.util.find_spec("audfprint2") is not None


class Audfprint:
    """audfprint as a `rivals.RivalSystem`."""

    name = "audfprint"

    def __init__(self):
        if not installed():
            raise errors.Invalid(
                "audfprint2 is not installed: pip install audfprint2, or give --systems= without audfprint"
            )
        cli, hash_table, audio = _modules()
        options = cli.parse_args(["match", "--dbase=none"])
        self.version = "audfprint2 " + importlib.metadata.version("audfprint2")
        self.sample_rate_hz = options.samplerate
        self._for_tracks, self._for_clips = (
            cli.setup_analyzer(
                options.density,
                is_clip,
                options.pks_per_frame,
                options.fanout,
                options.freq_sd,
                options.shifts,
                options.samplerate,
                options.continue_on_error,
                None,
            )
            for is_clip in (False, True)
        )
        self._matcher = cli.setup_matcher(
            options.match_win,
            options.search_depth,
            options.min_count,
            options.max_matches,
            options.exact_count,
            options.find_time_range,
            options.time_quantile,
            options.sortbytime,
            options.illustrate,
            options.illustrate_hpf,
        )
        self._table = hash_table.HashTable(hashbits=options.hashbits, depth=options.bucketsize, maxtime=1 << _TIME_BITS)
        self._samples, self._n_tracks = np.zeros(0, np.float32), 0
        audio.audio_read = lambda *_, **__: (self._samples, self.sample_rate_hz)
        random.seed(0)  # audfprint draws which entries of a full bucket it drops.

    def add(self, samples: np.ndarray) -> None:
        self._samples = samples
        self._for_tracks.ingest(self._table, str(self._n_tracks))
        self._n_tracks += 1

    def answer(self, samples: np.ndarray) -> rivals.RivalAnswer | None:
        self._samples = samples
        hashes = self._for_clips.wavfile2hashes("clip")
        matches: Sequence[Sequence[float]] = self._matcher.match_hashes(self._table, hashes) if len(hashes) else ()
        if not len(matches):
            return None
        track, count, skew = matches[0][:3]
        hop_s = self._for_clips.n_hop / self.sample_rate_hz
        return rivals.RivalAnswer(int(track), float(skew) * hop_s, float(count))

    def stored_bytes(self) -> int:
        """Returns four bytes for each entry of the table. The buckets take 400 MiB, however full they are."""
        return 4 * int(np.minimum(self._table.counts, self._table.depth).sum())


def _modules() -> tuple[Any, Any, Any]:
    """Imports audfprint2 without the root logger that it sets up for everybody."""
    logging.getLogger().addHandler(quiet := logging.NullHandler())  # basicConfig then does nothing.
    from audfprint2 import cli
    from audfprint2.core import hash_table
    from audfprint2.utils import audio

    logging.getLogger().removeHandler(quiet)
    logging.getLogger("audfprint2").setLevel(logging.WARNING)
    return cli, hash_table, audio
