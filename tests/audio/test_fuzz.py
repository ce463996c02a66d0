"""Damaged audio is refused by name, decoded with a remark or decoded rightly: never wrong, hung or silently shorter.

`python -m benchmarks.fuzz_audio` runs as many cases as one likes. Here NAFP_FUZZ says how many the slow test runs.
"""

import os
import pathlib

import numpy as np
import pytest

from benchmarks import _mutations, _verdicts
from nafp.audio import containers, decode, ffmpeg

CASES = int(os.environ.get("NAFP_FUZZ", 1000))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return _mutations.seeds(tmp_path_factory.mktemp("seeds"), _verdicts.tune())


def bad(cases, *, jobs):
    """Returns the cases that went wrong, with what can be done to see them again."""
    return [
        (case.number, pathlib.Path(case.path).name, case.data[1], verdict)
        for case, verdict in _verdicts.verdicts(cases, jobs=jobs)
        if verdict.kind in _verdicts.BAD
    ]


@pytest.mark.parametrize("n_damages", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_damaged_files_are_decoded_or_refused_by_name(seeds, monkeypatch, n_damages):
    monkeypatch.setattr(ffmpeg, "installed", lambda: False)  # Starting programs takes too long for a fast test.
    monkeypatch.setattr(containers, "installed", lambda: False)
    own = [path for path in seeds if path.suffix in decode.SNDFILE]
    assert len(own) >= 15
    with decode.hushed():
        assert bad(_verdicts.cases(own, count=n_damages * len(own), seed=5), jobs=0) == []


@pytest.mark.slow
def test_many_damaged_files_of_every_format_are_decoded_or_refused_by_name(seeds):
    """The fast test is test_damaged_files_are_decoded_or_refused_by_name."""
    assert bad(_verdicts.cases(seeds, count=CASES, seed=6), jobs=2) == []


def test_a_verdict_knows_what_is_wrong(seeds, tmp_path, monkeypatch):
    case = _verdicts.cases(seeds, count=1, seed=1)[0]

    def decoded(samples):
        monkeypatch.setattr(decode, "load", lambda path, **_: samples)
        return _verdicts._judged(case.path, case.path, damages="flip at 3").kind

    whole = _verdicts._reference(case.path).samples
    assert decoded(whole) == "whole"
    assert decoded(whole[:8000]) == "silently lost"
    assert decoded(np.full_like(whole, np.nan)) == "wrong"
    assert decoded(np.tile(whole, 5)) == "wrong"
    assert decoded(np.random.default_rng(0).standard_normal(len(whole)).astype(np.float32)) != "whole"

    def broken(path, **_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(decode, "load", broken)
    assert _verdicts.tried(case).kind == "crashed"
