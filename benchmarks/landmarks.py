"""audfprint, D. Ellis' landmarks (pairs of spectral peaks), as PyPI has it, with its own defaults.

pip install audfprint2, into an environment of its own if it must not touch this one.

Two things differ from its command line: it is handed samples instead of starting ffmpeg for each
file, and its table counts times to 25 minutes (--maxtimebits 16), since with the default ones wrap
around after 6.
"""

import importlib.metadata
import importlib.util
import logging
import random

import numpy as np

from benchmarks.rivals import Answer

_TIME_BITS = 16


def installed() -> bool:
    return importlib.util.find_spec("audfprint2") is not None


class Audfprint:
    """A system that `classical` can ask; see `rivals.System`."""

    name = "audfprint"

    def __init__(self):
        if not installed():
            raise ValueError("pip install audfprint2, or --systems= without audfprint")
        cli, hash_table, audio = _modules()
        given = cli.parse_args(["match", "--dbase=none"])
        self.version = "audfprint2 " + importlib.metadata.version("audfprint2")
        self.sample_rate_hz = given.samplerate
        self._for_tracks, self._for_clips = (
            cli.setup_analyzer(
                given.density,
                is_clip,
                given.pks_per_frame,
                given.fanout,
                given.freq_sd,
                given.shifts,
                given.samplerate,
                given.continue_on_error,
                None,
            )
            for is_clip in (False, True)
        )
        self._matcher = cli.setup_matcher(
            given.match_win,
            given.search_depth,
            given.min_count,
            given.max_matches,
            given.exact_count,
            given.find_time_range,
            given.time_quantile,
            given.sortbytime,
            given.illustrate,
            given.illustrate_hpf,
        )
        self._table = hash_table.HashTable(hashbits=given.hashbits, depth=given.bucketsize, maxtime=1 << _TIME_BITS)
        self._samples, self._n_tracks = np.zeros(0, np.float32), 0
        audio.audio_read = lambda *_, **__: (self._samples, self.sample_rate_hz)
        random.seed(0)  # Which entries of a full bucket are dropped.

    def add(self, samples: np.ndarray) -> None:
        self._samples = samples
        self._for_tracks.ingest(self._table, str(self._n_tracks))
        self._n_tracks += 1

    def answer(self, samples: np.ndarray) -> Answer | None:
        self._samples = samples
        hashes = self._for_clips.wavfile2hashes("clip")
        found = self._matcher.match_hashes(self._table, hashes) if len(hashes) else ()
        if not len(found):
            return None
        track, count, skew = found[0][:3]
        hop_s = self._for_clips.n_hop / self.sample_rate_hz
        return Answer(int(track), float(skew) * hop_s, float(count))

    def stored_bytes(self) -> int:
        """Entries of the table times four bytes; the buckets themselves are 400 MiB, however full."""
        return 4 * int(np.minimum(self._table.counts, self._table.depth).sum())


def _modules() -> tuple:
    """Imports it without the root logger that it sets up for everyone."""
    logging.getLogger().addHandler(quiet := logging.NullHandler())  # basicConfig then does nothing.
    from audfprint2 import cli
    from audfprint2.core import hash_table
    from audfprint2.utils import audio

    logging.getLogger().removeHandler(quiet)
    logging.getLogger("audfprint2").setLevel(logging.WARNING)
    return cli, hash_table, audio
