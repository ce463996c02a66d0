"""A static training set on disk: clean recordings, and degraded variants of them of the same length.

    PAIRS/samples.i16     the clean recordings. PAIRS is a corpus, and opens as one
    PAIRS/variant00.i16   the same recordings degraded, sample for sample; also variant01.i16, ...
    PAIRS/pairs.csv       how each stretch of each variant was degraded
    PAIRS/pairs.json      the settings; written last, so that it means finished
    PAIRS/pairs.jsonl     the finished recordings, one a line; removed when the set is finished

All files are in the order of the recordings, so an interrupted set that is continued is the same to the byte.
"""

import contextlib
import csv
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from nafp import errors
from nafp.audio import loudness
from nafp.corpora import building, corpus, journal, tracks_table
from nafp.jobs import plain_files, whole_files

DETAILS, FINISHED, JOURNAL = "pairs.csv", "pairs.json", "pairs.jsonl"


def variant_name(number: int) -> str:
    """Returns the file name of a variant."""
    return f"variant{number:02d}.i16"


class Pairs:
    """A finished set of pairs.

    corpus: the clean recordings. variants: for each variant its samples, int16 [S] like corpus.samples. Raises
    errors.Invalid if the folder holds no pairs, or an unfinished set.
    """

    def __init__(self, folder: str | os.PathLike):
        path = os.path.join(folder, FINISHED)
        if not os.path.isfile(path):
            is_begun = os.path.isfile(os.path.join(folder, JOURNAL))
            what = "pairs not rendered to their end" if is_begun else "no pairs"
            raise errors.Invalid(f"{folder}: {what}; nafp queries pairs --out={folder} renders them")
        self.settings = plain_files.json_object(path, "variants")
        self.corpus = corpus.Corpus.open(folder)
        names = [os.path.join(folder, variant_name(number)) for number in range(self.settings["variants"])]
        plain_files.require_files(names)
        self.variants = [np.memmap(name, "<i2", "r").view(np.ndarray) for name in names]
        if any(len(variant) != len(self.corpus.samples) for variant in self.variants):
            raise errors.Invalid(f"{folder}: a variant is not as long as the clean side; render anew")


class PairsWriter:
    """Appends recordings to a set of pairs. An interrupted set is continued.

    settings: how the set is made. It has the keys `variants` and `sample_rate_hz`. done: the numbers of the recordings
    that are in the set, or failed. is_finished: whether the set needs nothing more. Raises errors.AlreadyExists if the
    folder holds a set with other settings, or other files.
    """

    def __init__(self, folder: str | os.PathLike, settings: Mapping[str, Any]):
        self.folder = os.fspath(folder)
        self._settings = json.loads(json.dumps(settings))
        self._cell = tracks_table.cell_of(settings["sample_rate_hz"])
        os.makedirs(self.folder, exist_ok=True)
        for name in (JOURNAL, *self._names()):
            plain_files.require_plain(self._path(name))
        self.is_finished = os.path.exists(self._path(FINISHED))
        self._check_same()
        self._files: list[BinaryIO] = []
        self._entries: list[dict[str, Any]] = [] if self.is_finished else self._read()
        self.done = {entry["number"] for entry in self._entries}
        self._n_samples = max((entry["end"] for entry in self._entries), default=0)
        if not self.is_finished:
            self._open()
        self._first = self._n_samples  # Of the present recording.

    def append(self, clean: np.ndarray, variants: Sequence[np.ndarray]) -> None:
        """Adds a stretch to the present recording.

        clean: int16 [S]. variants: one array for each variant, of as many samples.
        """
        for file, samples in zip(self._files, (clean, *variants), strict=True):
            if len(samples) != len(clean):
                raise errors.Invalid(f"a variant has {len(samples)} samples, the clean {len(clean)}")
            file.write(samples.astype("<i2", copy=False).tobytes())
        self._n_samples += len(clean)

    def close_track(
        self, number: int, *, path: str, split: str, trouble: str = "", details: Sequence[dict] = ()
    ) -> None:
        """Ends the present recording, which belongs to the set from now on.

        trouble: why it is shorter than promised, or empty. details: its lines of pairs.csv.
        """
        n_samples = self._n_samples - self._first
        padding = bytes(2 * (-n_samples % self._cell))
        for file in self._files:
            file.write(padding)
            file.flush()
        self._n_samples += len(padding) // 2
        place = {"first": self._first, "n_samples": n_samples, "end": self._n_samples}
        about = {"number": number, "path": path, "split": split, "trouble": trouble}
        self._entries.append({**about, **place, "details": list(details)})
        self._journal.write(json.dumps(self._entries[-1]) + "\n")
        self._journal.flush()
        self.done.add(number)
        self._first = self._n_samples

    def finish(self) -> None:
        """Writes the tables. Raises errors.Invalid if no recording gave any samples."""
        entries = [entry for entry in self._entries if entry["n_samples"]]
        if not entries:
            raise errors.Invalid(f"{self.folder}: not one recording gave a pair; the reasons are above")
        for file in self._files:
            os.fsync(file.fileno())
        self.close()
        self._write_details(entries)
        samples = np.memmap(self._path(journal.SAMPLES), "<i2", "r")
        with whole_files.opened(self._path(building.LOUDNESS), "wb") as file:
            np.save(file, loudness.measure(samples, cell=self._cell))
        rows = [
            tracks_table.CorpusTrack(e["path"], "music", e["split"], "", e["first"], e["n_samples"]) for e in entries
        ]
        tracks_table.write(self.folder, rows)
        self._write_json(building.FINISHED, self._about_corpus())
        self._write_json(FINISHED, self._settings)
        os.remove(self._path(JOURNAL))

    def close(self) -> None:
        """Closes the files. What was not ended with `close_track` is rendered anew next time."""
        for file in self._files:
            file.close()
        if self._files:
            self._journal.close()

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _check_same(self) -> None:
        for name in (FINISHED, JOURNAL):
            with contextlib.suppress(FileNotFoundError, ValueError):  # A torn file means that nothing is done.
                with open(self._path(name), encoding="utf-8") as file:
                    before = json.loads(file.read() if name == FINISHED else file.readline())
                changed = [k for k in self._settings if before.get(k) != self._settings[k]]
                if changed:
                    changes = "; ".join(f"{k}: {before.get(k)}, now {self._settings[k]}" for k in changed[:3])
                    raise errors.AlreadyExists(
                        f"{self.folder}: holds pairs of other settings ({changes}); give another --out"
                    )
                return
        if not all(name.startswith(JOURNAL) for name in os.listdir(self.folder)):  # A kill leaves JOURNAL.PID.part.
            raise errors.AlreadyExists(f"{self.folder}: holds other files; give another --out")

    def _names(self) -> list[str]:
        return [journal.SAMPLES, *map(variant_name, range(self._settings["variants"]))]

    def _read(self) -> list[dict[str, Any]]:
        """Reads the lines of the journal whose samples are all on the disk."""
        sizes = [os.path.getsize(self._path(name)) if os.path.exists(self._path(name)) else 0 for name in self._names()]
        entries: list[dict[str, Any]] = []
        if not os.path.exists(self._path(JOURNAL)):
            return entries
        with open(self._path(JOURNAL), encoding="utf-8") as file:
            for line in list(file)[1:]:
                try:
                    entry = json.loads(line) if line.endswith("\n") else None
                except ValueError:
                    entry = None
                if entry is None or 2 * entry["end"] > min(sizes):
                    break  # A kill or a power cut tore this line or its samples. What follows does not count.
                entries.append(entry)
        return entries

    def _open(self) -> None:
        """Opens the files for appending after the finished recordings. What a kill left behind them is cut off."""
        whole_files.tidy(self.folder)
        with whole_files.opened(self._path(JOURNAL), encoding="utf-8") as lines:
            for entry in (self._settings, *self._entries):
                lines.write(json.dumps(entry) + "\n")
        self._journal = open(self._path(JOURNAL), "a", encoding="utf-8")  # noqa: SIM115
        for name in self._names():
            file = open(self._path(name), "ab")  # noqa: SIM115 - until close()
            file.truncate(2 * self._n_samples)
            self._files.append(file)

    def _about_corpus(self) -> dict[str, Any]:
        bad = [entry for entry in self._entries if entry["trouble"]]
        return {
            "format": journal.FORMAT,
            "sample_rate_hz": self._settings["sample_rate_hz"],
            "failures": [[entry["path"], entry["trouble"]] for entry in bad if not entry["n_samples"]],
            "damaged": [[entry["path"], entry["trouble"]] for entry in bad if entry["n_samples"]],
        }

    def _write_details(self, entries: list[dict[str, Any]]) -> None:
        lines = [{"track": e["path"], **line} for e in entries for line in e["details"]]
        columns = list(dict.fromkeys(key for line in lines for key in line))
        with whole_files.opened(
            self._path(DETAILS), newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:  # Names of tracks are bytes, not text.
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)

    def _write_json(self, name: str, content: Mapping[str, Any]) -> None:
        with whole_files.opened(self._path(name), encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1) + "\n")
