"""Decodes damaged audio files, and says what became of each."""

import collections
import functools
import os
import pathlib
import re
import resource
import signal
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks import _mutations
from nafp import errors
from nafp.audio import decode
from nafp.jobs import worker_processes

FINE = ("refused by name", "with a remark", "whole", "as its changed header says", "less, after several damages")
BAD = ("wrong", "hung", "crashed", "silently lost")
_RATE_HZ = 8000
_LIMIT_S = 90  # A case that takes longer hangs. ffmpeg is given up after 60 s.
_MOST_BYTES = 8 << 30  # Of address space. A case that asks for more crashes.
_LOST_S, _SAME = 0.6, 0.5  # Seconds that a decoder may drop at damage; correlation with the original.


class Case(NamedTuple):
    """A damaged copy of a seed file. number, seed: what the damage is drawn from."""

    path: str
    number: int
    seed: int

    @property
    def data(self) -> tuple[bytes, str]:
        """The bytes of the damaged file, and what was done to it."""
        rng = np.random.default_rng((self.seed, self.number))
        return _mutations.mutated(pathlib.Path(self.path).read_bytes(), rng)


class Verdict(NamedTuple):
    """What became of a case: one of FINE or BAD, and why."""

    kind: str
    why: str = ""


def cases(seeds: list[pathlib.Path], *, count: int, first: int = 0, seed: int = 0) -> list[Case]:
    """Returns the cases with these numbers. The formats take turns."""
    return [Case(str(seeds[number % len(seeds)]), number, seed) for number in range(first, first + count)]


def verdicts(chosen: list[Case], *, jobs: int) -> Iterator[tuple[Case, Verdict]]:
    """Yields what became of each case. jobs: processes, 0 to decode in this one, where a crash ends everything."""
    for case, verdict in zip(chosen, worker_processes.run(limited if jobs else tried, chosen, jobs=jobs)):
        if isinstance(verdict, worker_processes.Crash):
            is_hung = f"signal {int(signal.SIGALRM)}" in verdict.reason
            verdict = Verdict("hung" if is_hung else "crashed", verdict.reason)
        yield case, verdict


def limited(case: Case) -> Verdict:
    """Tries a case in a process of its own, which ends after _LIMIT_S seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    signal.alarm(_LIMIT_S)
    try:
        with decode.hushed():
            return tried(case)
    finally:
        signal.alarm(0)


def tried(case: Case) -> Verdict:
    """Decodes a damaged file and compares it with the whole one."""
    data, damages = case.data
    suffix = pathlib.Path(case.path).suffix
    with tempfile.NamedTemporaryFile(prefix="fuzz-", suffix=suffix) as file:
        file.write(data)
        file.flush()
        try:
            return _judged(file.name, case.path, damages=damages)
        except errors.Undecodable as error:
            named = str(error).startswith(f"{file.name}: ") and error.reason
            return Verdict("refused by name" if named else "wrong", str(error))
        except Exception as error:
            return Verdict("crashed", f"{type(error).__name__}: {error}")


def _judged(path: str, whole: str, *, damages: str) -> Verdict:
    remarks: list[str] = []
    info, reference = decode.probe(path), _reference(whole)
    samples = decode.load(path, sample_rate_hz=_RATE_HZ, complain=remarks.append)
    seconds, expected_s = len(samples) / _RATE_HZ, len(reference.samples) / _RATE_HZ
    if pathlib.Path(whole).name in _mutations.JOINED and re.fullmatch(r"_?cut at \d+", damages):
        # Of what stood behind a cut at the seam, or before it, nothing tells.
        expected_s /= 2 if 2 * os.path.getsize(path) <= os.path.getsize(whole) else 1
    if samples.dtype != np.float32 or not np.isfinite(samples).all() or np.abs(samples).max(initial=0) > 2.0**33:
        return Verdict("wrong", "samples that are no sound")
    if not 0 <= info.seconds <= 3600 + os.path.getsize(path):
        return Verdict("wrong", f"a length of {info.seconds} s is believed")
    if remarks:
        return Verdict("with a remark", remarks[0])
    if info[1:] != reference.info[1:]:
        return Verdict("as its changed header says")
    if expected_s - seconds > _LOST_S and pathlib.Path(whole).name not in _mutations.STATELESS:
        # What states the length may have been damaged apart from what was cut.
        return Verdict(BAD[-1] if "," not in damages else FINE[-1], f"{seconds:.2f} of {expected_s:.2f} s")
    if seconds > 3 * expected_s + 1:
        return Verdict("wrong", f"{seconds:.2f} s out of {expected_s:.2f} s")
    return Verdict("whole" if _likeness(samples, reference.samples) > _SAME else "as its changed header says")


class _Reference(NamedTuple):
    info: decode.Info
    samples: np.ndarray


@functools.cache
def _reference(path: str) -> _Reference:
    return _Reference(decode.probe(path), decode.load(path, sample_rate_hz=_RATE_HZ))


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the highest correlation of two signals over all delays."""
    n = 1 << (len(a) + len(b)).bit_length()
    products = np.fft.irfft(np.fft.rfft(a, n) * np.conj(np.fft.rfft(b, n)), n)
    norm = float(np.linalg.norm(a.astype(np.float64)) * np.linalg.norm(b.astype(np.float64)))
    return float(products.max()) / norm if norm else 0.0


def table(counts: dict[str, dict[str, int]]) -> str:
    """Returns the counts as a Markdown table, one line for each format, and their sum."""
    columns = (*FINE, *BAD)
    total: collections.Counter = collections.Counter()
    lines = [f"| format | tried | {' | '.join(columns)} |", "|---" + "|--:" * (len(columns) + 1) + "|"]
    for name in sorted(counts):
        total.update(counts[name])
        lines.append(_line(name, counts[name], columns))
    return "\n".join([*lines, _line("all", total, columns)])


def _line(name: str, counts: dict[str, int], columns: tuple[str, ...]) -> str:
    numbers = [sum(counts.values()), *(counts.get(column, 0) for column in columns)]
    return f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"


def tune() -> np.ndarray:
    """Returns the sound of the seed files: a melody with noise, float32 [S] at 48 kHz."""
    rng = np.random.default_rng(1)
    time_s = np.arange(round(48000 * _mutations.SECONDS)) / 48000
    hz = 220 * 2 ** (rng.integers(0, 24, 40) / 12)
    phase = 2 * np.pi * np.cumsum(hz[(time_s * 8).astype(int)]) / 48000
    return (0.4 * np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.01 * rng.standard_normal(len(time_s))).astype(np.float32)
