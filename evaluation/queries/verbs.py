"""The verbs of `nafp queries`: what was asked on the command line, checked and done."""

import dataclasses
import os
from collections.abc import Callable, Sequence

from nafp import errors

from . import conditions, material, page, pairs
from . import render as queries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be rendered; `nafp queries --help` explains each. None: the verb's default."""

    out: str
    source: str | None = None
    noise: str | None = None
    split: Sequence[str] | None = None
    conditions: Sequence[str] | None = None
    snr_db: Sequence[str] = ()
    count: int | None = None
    seconds: float | None = None
    variants: int = pairs.VARIANTS
    sample_rate_hz: int = 8000
    seed: int = 0
    spliced: bool = False
    aligned: bool = False
    jobs: int = 0
    overwrite: bool = False
    show: bool = True

    def materials(self) -> tuple[material.Material, material.Material]:
        """Opens the references, and where noise and responses come from."""
        if not self.source:
            raise errors.Invalid("--source=CORPUS (or a manifest, or a folder of audio) is needed")
        source = material.Material(self.source)
        return source, material.Material(self.noise, kind="noise") if self.noise else source

    def one_split(self) -> str:
        given = list(self.split or ["test"])
        if len(given) > 1:
            raise errors.Invalid(f"--split={','.join(given)}: of queries there is one split")
        return given[0]


def render(request: Request) -> str:
    """Renders queries, or whole tracks in place; says what is there."""
    source, noise = request.materials()
    names = names_of(request.conditions, snr_db=request.snr_db)
    same = {"split": request.one_split(), "seed": request.seed, "spliced": request.spliced}
    same |= {"names": names, "jobs": request.jobs, "show": request.show}
    same |= {"overwrite": request.overwrite}
    if request.aligned:
        rows = queries.render_aligned(source, noise, request.out, **same)
    else:
        length = {"count": _or(request.count, 100), "seconds": _or(request.seconds, 10.0)}
        rows = queries.render(source, noise, request.out, **length, **same)
    return f"{request.out}: {len(rows)} queries, their answers in expected.csv"


def render_pairs(request: Request) -> str:
    """Renders a static training set; says what is there."""
    source, noise = request.materials()
    return pairs.render(
        source,
        noise,
        request.out,
        splits=request.split or ["train"],
        names=request.conditions or pairs.CONDITIONS,
        count=_or(request.count, 0),
        variants=request.variants,
        seconds=_or(request.seconds, pairs.STRETCH_S),
        sample_rate_hz=request.sample_rate_hz,
        seed=request.seed,
        jobs=request.jobs,
        show=request.show,
    )


def listen(request: Request) -> str:
    """Writes a page of conditions; returns its path."""
    source, noise = request.materials()
    out = request.out
    if os.path.isdir(out) or not out.endswith((".html", ".htm")):
        raise errors.Invalid(f"--out={out}: the page is one file, such as page.html")
    names = names_of(request.conditions, snr_db=request.snr_db)
    clips = page.of_conditions(
        source,
        noise,
        split=request.one_split(),
        names=names,
        count=_or(request.count, 4),
        seconds=_or(request.seconds, 5.0),
        seed=request.seed,
        spliced=request.spliced,
    )
    page.write(out, clips, title=f"Conditions of queries, from {request.source}")
    return out


VERBS: dict[str, Callable[[Request], str]] = {
    "render": render,
    "pairs": render_pairs,
    "listen": listen,
}


def names_of(names: Sequence[str] | None, *, snr_db: Sequence[str] = ()) -> list[str]:
    """Lists condition names: those given, and n<SNR>.room.mic for each SNR; by default twelve."""
    wanted = [f"n{snr}.room.mic" for snr in snr_db]
    return [*(names or ([] if wanted else conditions.ROBUSTNESS)), *wanted]


def _or(given, default):
    return default if given is None else given
