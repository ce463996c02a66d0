"""Audio in, answers out: a trained network and a store of fingerprints put together."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from nafp.audio import decode, segments
from nafp.search import collection, index, index_files, match, store


class Identifier:
    """Names the track that a clip comes from, and where in it.

    extractor: what `nafp.trained.open_extractor` gives. rows: the fingerprints to search in. shifts: query rows for
    each row of the store; 2 looks every quarter second where the store has one every half.
    """

    def __init__(
        self, extractor: Any, rows: collection.Collection, searched: index.Index, *, shifts: int = 1
    ):
        self._extractor, self._rows, self._index, self._shifts = extractor, rows, searched, shifts

    @classmethod
    def open(
        cls, extractor: Any, identity: dict[str, Any], folder: str | os.PathLike, *, names: Sequence[str] = ("db",),
        kind: str = "auto", shifts: int = 1,
    ) -> Identifier:  # fmt: skip
        """Opens stores of one folder. Raises ValueError when another network wrote them."""
        stores = [store.Store.open(folder, name) for name in names]
        for opened in stores:
            made_by = opened.meta.get("model", {}).get("sha256")
            if made_by and made_by != identity["sha256"]:
                raise ValueError(
                    f"{folder}/{opened.name} was written by {opened.meta['model'].get('source')}, not by "
                    f"{identity['source']}: fingerprints of two networks cannot be compared. Name the checkpoint "
                    "that wrote it, or extract again with --overwrite."
                )
        rows = collection.Collection.of(stores)
        chosen = index.plan(kind, n_rows=len(rows), dim=rows.dim)
        return cls(extractor, rows, index_files.opened(rows, chosen, folder), shifts=shifts)

    def identify(
        self, samples: np.ndarray, *, sample_rate_hz: int, top: int = 5
    ) -> list[match.Match]:
        """Ranks tracks for a mono waveform [S] in -1..1, best first; the best place of each.

        Raises ValueError for a clip shorter than one segment.
        """
        extractor = self._extractor
        samples = decode.resample(
            np.asarray(samples, np.float32), from_hz=sample_rate_hz, to_hz=extractor.sample_rate_hz
        )
        if len(samples) < extractor.segment:
            raise ValueError(
                f"{len(samples) / extractor.sample_rate_hz:.2f} s of audio; at least "
                f"{extractor.segment / extractor.sample_rate_hz:g} s are needed."
            )
        hop = extractor.hop // self._shifts
        query = extractor(segments.frame(samples, segment=extractor.segment, hop=hop))
        _, near = self._index.search(query)
        n_rows = len(query[:: self._shifts])
        ranking = match.rank(query, near, self._rows, lengths=[n_rows], shifts=self._shifts)[0]
        return match.matches(ranking, self._rows)[:top]

    def identify_file(self, path: str | os.PathLike, *, top: int = 5) -> list[match.Match]:
        """Ranks tracks for an audio file. Raises decode.Undecodable with the reason."""
        rate_hz = self._extractor.sample_rate_hz
        return self.identify(
            decode.load(path, sample_rate_hz=rate_hz), sample_rate_hz=rate_hz, top=top
        )


def as_json(path: str, seconds: float, answers: Sequence[match.Match]) -> str:
    """Writes the answers for one clip as one JSON object on one line."""
    found = [a._asdict() for a in answers]
    return json.dumps({"query": path, "seconds": round(seconds, 3), "answers": found})


def as_text(path: str, seconds: float, answers: Sequence[match.Match]) -> str:
    """Writes the answers for one clip for people, a line each."""
    clip = f"{pathlib.Path(path).name} ({seconds:.1f} s)"
    lines = []
    for a in answers:
        at = f"{int(a.start_s // 60)}:{a.start_s % 60:04.1f}"
        sure = f"score {a.score:.2f}   margin {a.margin:.2f}"
        lines.append(f"{clip}  →  {pathlib.Path(a.track).stem}   at {at}   {sure}")
    return "\n".join(lines) or f"{clip}  →  nothing"
