"""The verbs of `nafp queries`: each checks its request, does the work and returns the line to print."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from nafp import errors

from . import conditions, material, page, pairs, rendering, spectrogram_sets

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueriesRequest:
    """The flags of `nafp queries`. Its --help explains each. None stands for the default of the verb."""

    out: str
    source: str | None = None
    noise: str | None = None
    split: Sequence[str] | None = None
    noise_split: str | None = None
    conditions: Sequence[str] | None = None
    snr_db: Sequence[str] = ()
    count: int | None = None
    seconds: float | None = None
    variants: int = pairs.VARIANTS
    form: str = "waveforms"
    segments: int = spectrogram_sets.SEGMENTS
    sample_rate_hz: int = 8000
    seed: int = 0
    spliced: bool = False
    aligned: bool = False
    jobs: int = 0
    overwrite: bool = False
    show: bool = True

    def materials(self) -> tuple[material.Material, material.Material]:
        """Opens the references, and the material that noise and responses come from."""
        if not self.source:
            raise errors.Invalid("--source=CORPUS (or a manifest, or a folder of audio) is needed")
        source = material.Material(self.source)
        return source, material.Material(self.noise, kind="noise") if self.noise else source

    def one_split(self) -> str:
        """Returns the split, `test` by default. Raises errors.Invalid if several are given."""
        splits = list(self.split or ["test"])
        if len(splits) > 1:
            raise errors.Invalid(f"--split={','.join(splits)}: queries are of one split")
        return splits[0]


def render(request: QueriesRequest) -> str:
    """Renders queries, or degrades whole tracks in place with --aligned."""
    source, noise = request.materials()
    names = names_of(request.conditions, snr_db=request.snr_db)
    if request.aligned:
        rows = rendering.render_aligned(
            source,
            noise,
            request.out,
            split=request.one_split(),
            noise_split=request.noise_split or "",
            names=names,
            seed=request.seed,
            spliced=request.spliced,
            jobs=request.jobs,
            show=request.show,
            overwrite=request.overwrite,
        )
    else:
        rows = rendering.render(
            source,
            noise,
            request.out,
            split=request.one_split(),
            noise_split=request.noise_split or "",
            names=names,
            count=_or(request.count, rendering.COUNT),
            seconds=_or(request.seconds, rendering.SECONDS),
            seed=request.seed,
            spliced=request.spliced,
            jobs=request.jobs,
            show=request.show,
            overwrite=request.overwrite,
        )
    return f"{request.out}: {len(rows)} queries, their answers in expected.csv"


def render_pairs(request: QueriesRequest) -> str:
    """Renders a static training set."""
    source, noise = request.materials()
    return pairs.render(
        source,
        noise,
        request.out,
        splits=request.split or ["train"],
        noise_split=request.noise_split or "",
        names=request.conditions or pairs.CONDITIONS,
        count=_or(request.count, 0),
        variants=request.variants,
        seconds=_or(request.seconds, pairs.STRETCH_S),
        sample_rate_hz=request.sample_rate_hz,
        seed=request.seed,
        jobs=request.jobs,
        show=request.show,
    )


def render_seconds(request: QueriesRequest, *, spectrogram: Callable[[np.ndarray], np.ndarray]) -> str:
    """Renders a static training set in song_mine's form. spectrogram: turns segments [n, S] into [n, F, T]."""
    source, noise = request.materials()
    return spectrogram_sets.render(
        source,
        noise,
        request.out,
        spectrogram=spectrogram,
        splits=request.split or ["train"],
        noise_split=request.noise_split or "",
        names=request.conditions or pairs.CONDITIONS,
        count=_or(request.count, 0),
        segments=request.segments,
        sample_rate_hz=request.sample_rate_hz,
        seed=request.seed,
        jobs=request.jobs,
        show=request.show,
    )


def listen(request: QueriesRequest) -> str:
    """Writes a page on which the conditions can be heard."""
    source, noise = request.materials()
    out = request.out
    if os.path.isdir(out) or not out.endswith((".html", ".htm")):
        raise errors.Invalid(f"--out={out}: the page is one file, such as page.html")
    page.require_out(out)
    clips = page.of_conditions(
        source,
        noise,
        split=request.one_split(),
        noise_split=request.noise_split or "",
        names=names_of(request.conditions, snr_db=request.snr_db),
        count=_or(request.count, 4),
        seconds=_or(request.seconds, 5.0),
        seed=request.seed,
        spliced=request.spliced,
    )
    about = f"Cut from split {request.one_split()} of {os.path.basename(os.path.normpath(str(request.source)))}."
    page.write(out, clips, title="Conditions of queries", about=about)
    return out


VERBS: dict[str, Callable[[QueriesRequest], str]] = {
    "render": render,
    "pairs": render_pairs,
    "listen": listen,
}


# Settings without an effect: of a verb, of a verb with another setting, and of the page for a configuration.
_IDLE = {
    "render": ("form", "segments", "variants", "sample_rate_hz"),
    "render --aligned": ("count", "seconds"),
    "pairs": ("snr_db", "spliced", "aligned", "overwrite"),
    "pairs --form=waveforms": ("segments",),
    "pairs --form=song_mine": ("variants", "seconds"),
    "listen": ("form", "segments", "variants", "sample_rate_hz", "aligned", "jobs", "overwrite"),
    "listen --config": ("source", "noise", "split", "noise_split", "conditions", "snr_db", "seed", "spliced"),
}


def require_used(verb: str, given: Mapping[str, Any], *, is_of_training: bool = False) -> None:
    """Raises errors.Invalid for settings that a verb would leave aside.

    given: what the command line gives, by name. is_of_training: whether a configuration of a training is given.
    """
    ways = [verb, *([f"{verb} --aligned"] if given.get("aligned") else []), *([f"{verb} --config"] * is_of_training)]
    for way in [*ways, f"{verb} --form={given.get('form', 'waveforms')}"]:
        if idle := [name for name in _IDLE.get(way, ()) if name in given]:
            raise errors.Invalid(f"queries {way} takes no --{idle[0]}")


def names_of(names: Sequence[str] | None, *, snr_db: Sequence[str] = ()) -> list[str]:
    """Returns `names` and the condition n<SNR>.room.mic for each SNR, or conditions.ROBUSTNESS by default."""
    by_snr = [f"n{snr}.room.mic" for snr in snr_db]
    return [*(names or ([] if by_snr else conditions.ROBUSTNESS)), *by_snr]


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value
