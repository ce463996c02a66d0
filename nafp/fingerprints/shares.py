"""The shares of an extraction that several processes do, together or each by itself, and what they leave on the disk.

STORE/NAME.parts/I-of-N.*       the unfinished store of share I of N, from 0
STORE/NAME.parts/I-of-N.json    its report; without it the share is not done
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from nafp import errors
from nafp.jobs import whole_files

_NAME = re.compile(r"(\d+)-of-(\d+)\.(?:journal|json)")
_MOST_NAMED = 5  # Tracks in an error.


class Share(NamedTuple):
    """One of `of` shares, counted from 0. It has every `of`-th track, from that of its number on."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"share {self.number} of {self.of}"

    def path(self, parts: pathlib.Path) -> pathlib.Path:
        """Returns the path of its store, without a suffix."""
        return parts / f"{self.number}-of-{self.of}"

    def report(self, parts: pathlib.Path) -> pathlib.Path:
        """Returns the path of its report."""
        return parts / f"{self.number}-of-{self.of}.json"

    def own(self, tracks: Sequence[Any]) -> Sequence[Any]:
        """Returns its tracks out of all."""
        return tracks[self.number :: self.of]

    def begin(self, parts: pathlib.Path) -> None:
        """Takes the report of an earlier start back: from now on the share is not done."""
        self.report(parts).unlink(missing_ok=True)

    def end(self, parts: pathlib.Path, report: Sequence[Any]) -> None:
        """Writes the report, which says that the share is done."""
        with whole_files.opened(self.report(parts)) as file:
            file.write(json.dumps(report))

    def read(self, parts: pathlib.Path) -> list[Any]:
        """Returns what its report says. Raises errors.Invalid if it is damaged."""
        path = self.report(parts)
        try:
            return list(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise errors.Invalid(f"{path}: cannot be read ({error}); run {self} again") from None


def all_of(n: int) -> list[Share]:
    """Returns the n shares of an extraction."""
    return [Share(i, n) for i in range(n)]


def done(parts: pathlib.Path) -> list[Share]:
    """Returns the shares that lie in a folder, if all are there and done.

    Raises errors.NotFound if there are none, and errors.Invalid naming those that are missing or not done.
    """
    found = [Share(int(match[1]), int(match[2])) for path in _files(parts) if (match := _NAME.fullmatch(path.name))]
    counts = sorted({share.of for share in found})
    if not counts:
        raise errors.NotFound(f"{parts}: holds no shares; run each with --processes=N --process=I, and then --join")
    if len(counts) > 1:
        raise errors.Invalid(
            f"{parts}: holds shares of {' and of '.join(map(str, counts))}; remove those that do not belong together"
        )
    missing = [share.number for share in all_of(counts[0]) if share not in found]
    undone = [share.number for share in all_of(counts[0]) if share in found and not share.report(parts).exists()]
    if missing or undone:
        lines = [f"{what}: {_listed(which)}" for what, which in (("missing", missing), ("not done", undone)) if which]
        raise errors.Invalid(f"{parts}: of {counts[0]} shares, {'; '.join(lines)}; run them again, then --join")
    return all_of(counts[0])


def require_own(share: Share, *, own: Iterable[str], has: Collection[str], failed: Collection[str]) -> None:
    """Raises errors.Invalid unless a share has its own tracks and no others.

    own: the tracks that it should have. has: those in its store. failed: those that gave no fingerprint.
    """
    expected = set(own)
    lacking, foreign = sorted(expected - {*has, *failed}), sorted(set(has) - expected)
    if lacking:
        raise errors.Invalid(f"{share} lacks {_listed(lacking)}: the source has changed since; run the share again")
    if foreign:
        raise errors.Invalid(
            f"{share} has {_listed(foreign)}, which another share should have: the source has changed since, or it was "
            "made with another --split; remove the share's files and run it again"
        )


def _files(parts: pathlib.Path) -> list[pathlib.Path]:
    return sorted(parts.iterdir()) if parts.is_dir() else []


def _listed(names: Sequence[Any]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(map(str, names[:_MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
