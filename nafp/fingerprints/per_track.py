"""Fingerprints each track of a source into a file of its own, as the benchmark and song_mine keep them.

    OUT/SONG.npy           float32 [n, D]
    OUT/fingerprints.json  the network and the hop that made the files; further files must be of the same

SONG is the file's name without its suffix. Where two tracks share it, their folders are kept, too: OUT/ALBUM/SONG.npy.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from nafp import errors
from nafp.fingerprints import extract, heard, shares, stream
from nafp.jobs import progress, shown, whole_files
from nafp.models import identities, protocol

_ABOUT = "fingerprints.json"


class Written(NamedTuple):
    """What `write` did. n_before: files that were there and stayed."""

    report: extract.ExtractionReport
    n_before: int


class Files:
    """The tracks of a source, and the file that each gets. Workers of a cluster keep one and write share after share.

    source, split, hop_s, short: as for `extract.extract`. overwrite: whether to make the files anew. Raises
    errors.Invalid if the files in the folder are of another network or hop.
    """

    def __init__(
        self,
        network: protocol.Network,
        source: str,
        folder: str | os.PathLike,
        *,
        split: str | None = None,
        hop_s: float | None = None,
        short: str = "auto",
        overwrite: bool = False,
    ):
        folder, self._network = pathlib.Path(folder), heard.at_hop(network, hop_s)
        self._tracks = heard.filled_up(
            heard.listed(source, self._network.sample_rate_hz, split), short=short, n_samples=self._network.segment
        )
        self._paths = _paths(folder, [track.name for track in self._tracks])
        self._overwrite = overwrite
        _begin(folder, self._network, self._paths.values(), overwrite=overwrite)

    def __len__(self) -> int:
        return len(self._tracks)

    def write(self, share: shares.Share) -> Written:
        """Writes the file of every track of a share that has none yet."""
        mine = share.own(self._tracks)
        left = [track for track in mine if self._overwrite or not self._paths[track.name].exists()]
        seconds, reports = {track.name: track.seconds for track in left}, []
        with progress.Progress(sum(seconds.values()), "s of audio") as bar:
            for outcome in stream.fingerprints(left, self._network):
                if outcome.reason:
                    bar.note(f"skipped {outcome.name}: {outcome.reason}")
                else:
                    _save(self._paths[outcome.name], outcome.vectors)
                bar.add(seconds[outcome.name])
                reports.append(extract.counted(outcome))
        return Written(extract.total(reports), len(mine) - len(left))


def write(
    network: protocol.Network,
    source: str,
    folder: str | os.PathLike,
    *,
    share: tuple[int, int] | None = None,
    **settings: Any,
) -> Written:
    """Writes FOLDER/SONG.npy for every track that has none yet.

    share: (number, of how many), to do this share of the tracks alone. Under jax.distributed every process does its
    share and reports that. Other parameters: as of `Files`.
    """
    mine = shares.Share(*(share or (jax.process_index(), jax.process_count())))
    return Files(network, source, folder, **settings).write(mine)


def describe(report: extract.ExtractionReport, n_before: int, folder: str, *, wall_s: float) -> str:
    """Returns the closing lines: files and fingerprints written, the speed, and files that failed or are damaged."""
    before = f", {n_before} were there" if n_before else ""
    line = f"{folder}: {report.n_tracks} files, {report.n_rows} fingerprints{before}; {extract.pace(report, wall_s)}"
    return shown.lines([line, *extract.troubles(report)])


def _paths(folder: pathlib.Path, names: list[str]) -> dict[str, pathlib.Path]:
    """Returns the file of each track, by its name."""
    stems = {name: pathlib.Path(name).stem for name in names}
    n_named = collections.Counter(stems.values())
    shared = [os.path.dirname(name) for name, stem in stems.items() if n_named[stem] > 1]
    above = os.path.commonpath(shared) if shared else ""
    paths = {}
    for name, stem in stems.items():
        inside = os.path.splitext(os.path.relpath(name, above))[0] if n_named[stem] > 1 else stem
        paths[name] = folder / f"{inside}.npy"
    _require_unique(paths)
    return paths


def _require_unique(paths: dict[str, pathlib.Path]) -> None:
    """Raises errors.Invalid for two tracks of one file: song.wav and song.mp3 of one folder."""
    first: dict[pathlib.Path, str] = {}
    for name, path in paths.items():
        if first.setdefault(path, name) != name:
            raise errors.Invalid(f"{first[path]} and {name} would both become {path}: rename one, or leave one out")


def _begin(folder: pathlib.Path, network: protocol.Network, paths: Iterable[pathlib.Path], *, overwrite: bool) -> None:
    """Notes what the files of the folder are made by. Raises errors.Invalid if that is something else already."""
    about: dict[str, Any] = {"hop_s": network.hop / network.sample_rate_hz, "model": dict(network.identity)}
    about["config"] = network.config.to_dict()
    path = folder / _ABOUT
    present = next((place for place in paths if place.exists()), None)
    before = _read(path)  # After that: another process may just have begun, which writes this file first.
    if present and not before:
        raise errors.Invalid(f"{present}: is there, without a {path.name} that says how; give another --out")
    if before and not overwrite and not _agree(before, about):
        raise errors.Invalid(
            f"{folder}: holds fingerprints of another network or hop ({path.name}); --overwrite makes all files anew, "
            "another --out keeps them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with whole_files.opened(path) as file:
        json.dump(about, file, indent=1)


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    same_hop = abs(one.get("hop_s", 0) - other["hop_s"]) < 1e-9
    same_sight = one.get("config", {}).get("spectrogram") == other["config"]["spectrogram"]
    return same_hop and same_sight and identities.same_network(one.get("model"), other["model"])


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise errors.Invalid(f"{path}: cannot be read ({error}); remove it, or give another --out") from None


def _save(path: pathlib.Path, vectors: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.opened(path, "wb") as file:
        np.save(file, np.asarray(vectors, np.float32))
