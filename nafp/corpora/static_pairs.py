"""Clean recordings and degraded versions of them, side by side on disk: a static training set.

    PAIRS/samples.i16     the clean recordings, as in a corpus: PAIRS is one, and opens as one
    PAIRS/variant00.i16   the same recordings degraded, sample for sample; 01, 02, ... likewise
    PAIRS/pairs.csv       what happened to each stretch of each variant
    PAIRS/pairs.json      the settings; written last: finished
    PAIRS/pairs.jsonl     what is done, a line a recording; gone when finished

Everything lies in the order of the recordings, so that an interrupted set, gone on with, is the
same to the byte.
"""

import contextlib
import csv
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nafp import errors
from nafp.audio import loudness
from nafp.corpora import build, corpus, journal, tracks_table

DETAILS, FINISHED, JOURNAL = "pairs.csv", "pairs.json", "pairs.jsonl"


def variant_name(number: int) -> str:
    return f"variant{number:02d}.i16"


class Pairs:
    """A finished set. corpus: the clean side; variants: int16 [S] each, as corpus.samples.

    Raises ValueError when the folder holds none, or an unfinished one.
    """

    def __init__(self, folder: str | os.PathLike):
        path = os.path.join(folder, FINISHED)
        if not os.path.isfile(path):
            begun = os.path.isfile(os.path.join(folder, JOURNAL))
            what = "pairs not rendered to their end" if begun else "no pairs"
            raise errors.Invalid(f"{folder}: {what}; nafp queries pairs --out={folder} renders them")
        with open(path, encoding="utf-8") as file:
            self.settings = json.load(file)
        self.corpus = corpus.Corpus.open(folder)
        self.variants = [
            np.memmap(os.path.join(folder, variant_name(number)), "<i2", "r").view(np.ndarray)
            for number in range(self.settings["variants"])
        ]
        if any(len(each) != len(self.corpus.samples) for each in self.variants):
            raise errors.Invalid(f"{folder}: a variant is not as long as the clean side; render anew")


class Writer:
    """Appends recordings to a set, resumably.

    settings: what it is made with, `variants` and `sample_rate_hz` among it. done: the numbers of
    the recordings that are there, or failed. is_finished: nothing is left to do. Raises
    FileExistsError when the folder holds a set of other settings.
    """

    def __init__(self, folder: str | os.PathLike, settings: Mapping[str, Any]):
        self.folder = os.fspath(folder)
        self._settings = json.loads(json.dumps(settings))
        self._cell = tracks_table.cell_of(settings["sample_rate_hz"])
        os.makedirs(self.folder, exist_ok=True)
        self.is_finished = os.path.exists(self._path(FINISHED))
        self._check_same()
        self._files = []
        self._entries = [] if self.is_finished else self._read()
        self.done = {entry["number"] for entry in self._entries}
        self._n_samples = max((entry["end"] for entry in self._entries), default=0)
        if not self.is_finished:
            self._open()
        self._begun = self._n_samples

    def append(self, clean: np.ndarray, variants: Sequence[np.ndarray]) -> None:
        """Adds a stretch of the present recording: int16 [S], all of one length."""
        for file, samples in zip(self._files, (clean, *variants), strict=True):
            if len(samples) != len(clean):
                raise errors.Invalid(f"a variant has {len(samples)} samples, the clean {len(clean)}")
            file.write(samples.astype("<i2", copy=False).tobytes())
        self._n_samples += len(clean)

    def close_track(
        self, number: int, *, path: str, split: str, trouble: str = "", details: Sequence[dict] = ()
    ) -> None:
        """Ends the present recording: it is there from now on.

        trouble: why there is less of it than promised, or nothing. details: lines of pairs.csv.
        """
        n_samples = self._n_samples - self._begun
        padding = bytes(2 * (-n_samples % self._cell))
        for file in self._files:
            file.write(padding)
            file.flush()
        self._n_samples += len(padding) // 2
        place = {"first": self._begun, "n_samples": n_samples, "end": self._n_samples}
        about = {"number": number, "path": path, "split": split, "trouble": trouble}
        self._entries.append({**about, **place, "details": list(details)})
        self._journal.write(json.dumps(self._entries[-1]) + "\n")
        self._journal.flush()
        self.done.add(number)
        self._begun = self._n_samples

    def finish(self) -> None:
        """Writes the tables; raises ValueError when no recording has given anything."""
        kept = [entry for entry in self._entries if entry["n_samples"]]
        if not kept:
            raise errors.Invalid(f"{self.folder}: not one recording gave a pair; the reasons are above")
        for file in self._files:
            os.fsync(file.fileno())
        self.close()
        self._write_details(kept)
        samples = np.memmap(self._path(journal.SAMPLES), "<i2", "r")
        with open(self._path(build.LOUDNESS), "wb") as file:
            np.save(file, loudness.measure(samples, cell=self._cell))
        rows = [tracks_table.CorpusTrack(e["path"], "music", e["split"], "", e["first"], e["n_samples"]) for e in kept]
        tracks_table.write(self.folder, rows)
        self._replace(build.FINISHED, self._about_corpus())
        self._replace(FINISHED, self._settings)
        os.remove(self._path(JOURNAL))

    def close(self) -> None:
        for file in (*self._files, *([self._journal] if self._files else [])):
            file.close()

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _check_same(self) -> None:
        for name in (FINISHED, JOURNAL):
            with contextlib.suppress(FileNotFoundError, ValueError):  # Torn: nothing is done.
                with open(self._path(name), encoding="utf-8") as file:
                    before = json.loads(file.read() if name == FINISHED else file.readline())
                changed = [k for k in self._settings if before.get(k) != self._settings[k]]
                if changed:
                    said = "; ".join(f"{k}: {before.get(k)}, now {self._settings[k]}" for k in changed[:3])
                    raise errors.AlreadyExists(
                        f"{self.folder}: holds pairs of other settings ({said}); give another --out"
                    )
                return
        if set(os.listdir(self.folder)) - {JOURNAL}:
            raise errors.AlreadyExists(f"{self.folder}: holds other files; give another --out")

    def _names(self) -> list[str]:
        return [journal.SAMPLES, *map(variant_name, range(self._settings["variants"]))]

    def _read(self) -> list[dict]:
        """Reads the lines whose samples are all there."""
        sizes = [os.path.getsize(self._path(name)) if os.path.exists(self._path(name)) else 0 for name in self._names()]
        entries = []
        if not os.path.exists(self._path(JOURNAL)):
            return entries
        with open(self._path(JOURNAL), encoding="utf-8") as file:
            for line in list(file)[1:]:
                try:
                    entry = json.loads(line) if line.endswith("\n") else None
                except ValueError:
                    entry = None
                if entry is None or 2 * entry["end"] > min(sizes):
                    break  # Torn by a kill, or lost with the power: nothing after it counts.
                entries.append(entry)
        return entries

    def _open(self) -> None:
        """Opens the files behind what is done; what a kill left after it is cut off."""
        with open(self._path(JOURNAL) + ".part", "w", encoding="utf-8") as file:
            for entry in (self._settings, *self._entries):
                file.write(json.dumps(entry) + "\n")
        os.replace(self._path(JOURNAL) + ".part", self._path(JOURNAL))
        self._journal = open(self._path(JOURNAL), "a", encoding="utf-8")  # noqa: SIM115
        for name in self._names():
            file = open(self._path(name), "ab")  # noqa: SIM115 - until close()
            file.truncate(2 * self._n_samples)
            self._files.append(file)

    def _about_corpus(self) -> dict[str, Any]:
        bad = [entry for entry in self._entries if entry["trouble"]]
        told = [[entry["path"], entry["trouble"]] for entry in bad]
        empty = [not entry["n_samples"] for entry in bad]
        return {
            "format": journal.FORMAT,
            "sample_rate_hz": self._settings["sample_rate_hz"],
            "failures": [line for line, nothing in zip(told, empty) if nothing],
            "damaged": [line for line, nothing in zip(told, empty) if not nothing],
        }

    def _write_details(self, entries: list[dict]) -> None:
        lines = [{"track": e["path"], **line} for e in entries for line in e["details"]]
        columns = list(dict.fromkeys(key for line in lines for key in line))
        with open(self._path(DETAILS), "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)

    def _replace(self, name: str, content: Mapping[str, Any]) -> None:
        part = self._path(name) + ".part"
        with open(part, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._path(name))
