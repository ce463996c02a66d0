"""Chromaprint, the fingerprint of AcoustID, from its own library, with an exhaustive matcher of ours.

apt install libchromaprint1, brew install chromaprint, or https://acoustid.org/chromaprint

Chromaprint computes a code of 32 bits every 0.124 s. Each code describes the next 2.6 s, so shorter clips have none.
AcoustID looks up whole files. Here a clip is compared with every place of every track, and the place where the fewest
bits differ wins. That is kinder to short and noisy clips than AcoustID's search is.
"""

import ctypes
import ctypes.util

import numpy as np

from benchmarks import rivals
from nafp import errors
from nafp.audio import decode

_ALGORITHM = 1  # CHROMAPRINT_ALGORITHM_DEFAULT (TEST2), which AcoustID and fpcalc use.
_PLACES = 1 << 15  # Places compared at a time, so that their arrays stay in the cache.
_CODE_BITS = 32


def installed() -> bool:
    """Returns whether the library is found."""
    return ctypes.util.find_library("chromaprint") is not None


class Chromaprint:
    """Chromaprint as a `rivals.RivalSystem`."""

    name = "chromaprint"
    sample_rate_hz = 11025  # The library resamples everything to this rate.

    def __init__(self):
        self._library = _opened()
        self._hop_s = 0.0
        self._parts: list[np.ndarray] = []
        self._table: CodeTable | None = None
        version = self._library.chromaprint_get_version
        version.restype = ctypes.c_char_p
        self.version = version().decode()

    def add(self, samples: np.ndarray) -> None:
        self._parts.append(self.codes(samples))
        self._table = None

    def answer(self, samples: np.ndarray) -> rivals.RivalAnswer | None:
        if self._table is None:
            self._table = CodeTable(self._parts)
        codes = self.codes(samples)
        nearest = self._table.nearest(codes) if len(codes) else None
        if nearest is None:
            return None
        track, first, n_bits = nearest
        return rivals.RivalAnswer(track, first * self._hop_s, 1 - n_bits / (_CODE_BITS * len(codes)))

    def stored_bytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    def codes(self, samples: np.ndarray) -> np.ndarray:
        """Computes the codes of a waveform: uint32 [N]. A waveform shorter than 2.6 s has none.

        samples: float32 [S] at `sample_rate_hz`.
        """
        library, pcm = self._library, np.ascontiguousarray(decode.to_int16(samples))
        context = ctypes.c_void_p(library.chromaprint_new(_ALGORITHM))
        data, n = ctypes.POINTER(ctypes.c_uint32)(), ctypes.c_int()
        try:
            done = library.chromaprint_start(context, self.sample_rate_hz, 1)
            done = done and library.chromaprint_feed(context, pcm.ctypes.data_as(_PCM), len(pcm))
            done = done and library.chromaprint_finish(context)
            if not done:
                raise RuntimeError(f"chromaprint {self.version} refused {len(pcm)} samples")
            if library.chromaprint_get_raw_fingerprint(context, ctypes.byref(data), ctypes.byref(n)):
                codes = np.array(data[: n.value], np.uint32)
                library.chromaprint_dealloc(data)
            else:
                codes = np.zeros(0, np.uint32)
            self._hop_s = library.chromaprint_get_item_duration(context) / self.sample_rate_hz
            return codes
        finally:
            library.chromaprint_free(context)


class CodeTable:
    """The codes of all tracks, one track after another. parts: uint32 [N] for each track."""

    def __init__(self, parts: list[np.ndarray]):
        self._codes = np.concatenate([*parts, np.zeros(1, np.uint32)])
        wide = self._codes.astype(np.uint64)
        self._pairs = wide[:-1] | wide[1:] << np.uint64(_CODE_BITS)  # Two codes in one step.
        self._ends = np.cumsum([len(part) for part in parts])
        numbers = np.arange(self._ends[-1])
        left = self._ends[np.searchsorted(self._ends, numbers, side="right")] - numbers
        self._left = np.minimum(left, 65535).astype(np.uint16)  # Codes from here to the track's end.

    def nearest(self, codes: np.ndarray) -> tuple[int, int, int] | None:
        """Returns (track, place in the track, number of differing bits) of the best alignment inside one track.

        codes: uint32 [N], N from 1 to 2,047 (four minutes), or errors.Invalid is raised. Of equal places it returns
        the first. It returns None if no track is long enough.
        """
        if not 0 < len(codes) < 65536 // _CODE_BITS:
            raise errors.Invalid(f"{len(codes)} codes given; 1 to 2047 can be looked up")
        fewest, best = 65535, -1
        for start in range(0, len(self._pairs) - len(codes) + 1, _PLACES):
            counts = self._differing(codes, start)
            place = int(counts.argmin())
            if counts[place] < fewest:
                fewest, best = int(counts[place]), start + place
        if best < 0:
            return None
        track = int(np.searchsorted(self._ends, best, side="right"))
        return track, best - int(self._ends[track - 1] if track else 0), fewest

    def _differing(self, codes: np.ndarray, start: int) -> np.ndarray:
        """Counts the differing bits at the places from `start` on: uint16 [P], 65535 where a track ends too soon."""
        end = min(start + _PLACES, len(self._pairs) - len(codes) + 1)
        total = np.zeros(end - start, np.uint16)
        differing, count = np.empty(end - start, np.uint64), np.empty(end - start, np.uint8)
        wide = codes.astype(np.uint64)
        for k in range(0, len(codes) - 1, 2):
            pair = wide[k] | wide[k + 1] << np.uint64(_CODE_BITS)
            np.bitwise_xor(self._pairs[start + k : end + k], pair, out=differing)
            total += np.bitwise_count(differing, out=count)
        if len(codes) % 2:
            last = len(codes) - 1
            total += np.bitwise_count(self._codes[start + last : end + last] ^ codes[last])
        total[self._left[start:end] < len(codes)] = 65535
        return total


_PCM = ctypes.POINTER(ctypes.c_int16)


def _opened() -> ctypes.CDLL:
    """Loads the library and declares its functions. Raises errors.Invalid if it is not installed."""
    name = ctypes.util.find_library("chromaprint")
    if name is None:
        raise errors.Invalid(
            "The Chromaprint library is not installed: apt install libchromaprint1, brew install chromaprint, or give"
            " --systems= without chromaprint"
        )
    library = ctypes.CDLL(name)
    context, number = ctypes.c_void_p, ctypes.c_int
    library.chromaprint_new.restype = context
    library.chromaprint_new.argtypes = [number]
    library.chromaprint_free.argtypes = library.chromaprint_finish.argtypes = [context]
    library.chromaprint_start.argtypes = [context, number, number]
    library.chromaprint_feed.argtypes = [context, _PCM, number]
    library.chromaprint_get_raw_fingerprint.argtypes = [context, context, context]
    library.chromaprint_get_item_duration.argtypes = [context]
    library.chromaprint_dealloc.argtypes = [context]
    return library
