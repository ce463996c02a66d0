"""Public datasets by name: what they hold, where to get them, and how their folders become tracks.

The user downloads a dataset and accepts its licence; docs/datasets.md says how for each. This file starts from the
unpacked folder.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from nafp import errors
from nafp.corpora import manifest
from nafp.datasets import air, audioset, baf, fma
from nafp.jobs import plain_files

Found = tuple[list[manifest.Track], list[manifest.Failure]]


class Options(NamedTuple):
    """Settings of a scan.

    metadata: the folder of the dataset's tables, "" for that of the audio. keep, drop: labels of AudioSet. converted:
    the folder for audio that must be converted first. jobs, show: as for `manifest.scan`.
    """

    metadata: str = ""
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    converted: str = ""
    jobs: int = 0
    show: bool = False


class Dataset(NamedTuple):
    """One dataset.

    about: one line on what it is. get: where to get it. scan: lists the tracks in its folder. n_tracks: the number of
    tracks of the whole dataset, 0 if unknown. verify: lists the files that differ from those that the authors
    published, None if they publish no checksums.
    """

    about: str
    get: str
    scan: Callable[[str, Options], Found]
    n_tracks: int = 0
    verify: Callable[[str], list[manifest.Failure]] | None = None


def find(name: str) -> Dataset:
    """Returns a dataset by its name. Raises errors.Invalid, which lists the names, for an unknown one."""
    if name not in DATASETS:
        raise errors.Invalid(f"--dataset={name}: known are {', '.join(DATASETS)}")
    return DATASETS[name]


def folder_digest(folder: str) -> str:
    """Returns the digest of a folder as `checksumdir -a md5` computes it: MD5 of the sorted MD5s of all its files.

    Raises errors.Invalid for a file that cannot be read, a pipe and a device.
    """
    digests = []
    for path in (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names):
        try:
            with plain_files.opened(path) as file:
                digests.append(hashlib.file_digest(file, "md5").hexdigest())
        except OSError as error:
            raise errors.Invalid(f"{path}: cannot be read: {error.strerror}") from None
    return hashlib.md5("".join(sorted(digests)).encode()).hexdigest()


# From the original's README, Dataset-full v1.1. The SHA-1 there has a digit too many.
_ORIGINAL_FULL_MD5 = "aa90a8fbd3e6f938cac220d8aefdb134"
_ORIGINAL_PARTS = {
    ("music", "train", "train"): 10_000,
    ("music", "val", "db"): 500,
    ("music", "test", "db"): 500,
    ("music", "test", "query"): 500,
}
_NUMBERED = re.compile(r"[-_]?\d+$")


def _original(folder: str, options: Options) -> Found:
    """Lists the original authors' tree. A part with another number of files than published is a failure."""
    tracks, failures = manifest.scan(folder, by_folder=True, jobs=options.jobs, show=options.show)
    counts = Counter((track.kind, track.split, track.group) for track in tracks)
    if not any(split for _, split, _ in counts):
        raise errors.Invalid(f"{folder}: no music/train-10k-30s, aug/bg/tr, ... of the dataset there")
    for part, expected in _ORIGINAL_PARTS.items():
        if counts[part] != expected:
            name = f"{folder}: {' '.join(part)}"
            failures.append(manifest.Failure(name, f"{counts[part]} files, {expected} expected"))
    return tracks, failures


def _verify_original(folder: str) -> list[manifest.Failure]:
    digest = folder_digest(folder)
    if digest == _ORIGINAL_FULL_MD5:
        return []
    reason = f"checksumdir -a md5 gives {digest}, Dataset-full v1.1 has {_ORIGINAL_FULL_MD5}"
    return [manifest.Failure(folder, reason)]


def _fma(subset: str, n_tracks: int, size: str, sha1: str) -> Dataset:
    def scan(folder: str, options: Options) -> Found:
        return fma.scan(folder, subset=subset, metadata=options.metadata, jobs=options.jobs, show=options.show)

    return Dataset(
        f"{n_tracks:,} {'whole tracks' if subset == 'fma_full' else 'clips of 30 s'}, {size}, MP3",
        f"https://github.com/mdeff/fma: {subset}.zip (SHA-1 {sha1}) and fma_metadata.zip",
        scan,
        n_tracks,
        lambda folder: fma.verify(folder, subset=subset),
    )


def _audioset(folder: str, options: Options) -> Found:
    return audioset.scan(
        folder,
        metadata=options.metadata,
        keep=options.keep,
        drop=options.drop,
        jobs=options.jobs,
        show=options.show,
    )


def _air(folder: str, options: Options) -> Found:
    return air.scan(folder, converted=options.converted, show=options.show)


def _microphones(folder: str, options: Options) -> Found:
    """Lists the responses of MicIRP. Each file is the response of one microphone, and has its name."""
    tracks, failures = manifest.scan(folder, kind="microphone", jobs=options.jobs, show=options.show)
    return [track._replace(split="", group=_stem(track.path)) for track in tracks], failures


def _rirs_noises(folder: str, options: Options) -> Found:
    """Lists rooms and noises. The responses of one room, simulated or measured, are one group."""
    tracks, failures = manifest.scan(folder, kind="room", jobs=options.jobs, show=options.show)
    return [_room_or_noise(track) for track in tracks], failures


def _room_or_noise(track: manifest.Track) -> manifest.Track:
    parts = track.path.split(os.sep)
    if "simulated_rirs" in parts:
        return track._replace(split="", group="/".join(parts[-3:-1]))
    is_noise = "pointsource_noises" in parts or "_noise_" in parts[-1]
    room, previous = _stem(track.path), ""
    while not is_noise and room != previous:  # ..._aula_carolina_1_3_90_3: the numbers are positions in one room.
        room, previous = _NUMBERED.sub("", room), room
    return track._replace(kind="noise" if is_noise else "room", split="", group=room)


def _musan(folder: str, options: Options) -> Found:
    """Lists music, noise and speech. Each file is a group."""
    tracks: list[manifest.Track] = []
    failures: list[manifest.Failure] = []
    for kind in ("music", "noise", "speech"):
        place = os.path.join(folder, kind)
        if os.path.isdir(place):
            good, bad = manifest.scan(place, kind=kind, jobs=options.jobs, show=options.show)
            tracks += [track._replace(split="", group=_stem(track.path)) for track in good]
            failures += bad
    if not tracks:
        raise errors.Invalid(f"{folder}: no folders music, noise and speech of MUSAN with audio in it")
    return tracks, failures


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


DATASETS: dict[str, Dataset] = {
    "neural_audio_fp_mini": Dataset(
        "the original authors' music, noise and responses, small dummy database; 11.2 GB, WAV",
        "https://www.kaggle.com/mimbres/neural-audio-fingerprint",
        _original,
    ),
    "neural_audio_fp_full": Dataset(
        "the same with 100,000 whole songs as dummy database; 443 GB, WAV",
        "http://ieee-dataport.org/open-access/neural-audio-fingerprint-dataset",
        _original,
        verify=_verify_original,
    ),
    "fma_small": _fma("fma_small", 8_000, "7.2 GiB", "ade154f733639d52e35e32f5593efe5be76c6d70"),
    "fma_medium": _fma("fma_medium", 25_000, "22 GiB", "c67b69ea232021025fca9231fc1c7c1a063ab50b"),
    "fma_large": _fma("fma_large", 106_574, "93 GiB", "497109f4dd721066b5ce5e5f250ec604dc78939e"),
    "fma_full": _fma("fma_full", 106_574, "879 GiB", "0f0ace23fbe9ba30ecb7e95f763e435ea802b8ab"),
    "audioset": Dataset(
        "background noise: clips by label, of those that were downloaded",
        "https://research.google.com/audioset/download.html: *_segments.csv, ontology.json",
        _audioset,
    ),
    "air": Dataset(
        "rooms: the Aachen Impulse Response database 1.4, .mat files (converted to WAV)",
        "https://www.iks.rwth-aachen.de/en/research/tools-downloads/databases/aachen-impulse-response-database/",
        _air,
    ),
    "micirp": Dataset(
        "microphones: the Microphone Impulse Response Project, WAV",
        "http://micirp.blogspot.com/",
        _microphones,
    ),
    "rirs_noises": Dataset(
        "rooms, simulated and measured, and point-source noises, 16 kHz WAV",
        "https://www.openslr.org/28/: rirs_noises.zip",
        _rirs_noises,
    ),
    "musan": Dataset(
        "music, speech and noise, 16 kHz WAV",
        "https://www.openslr.org/17/: musan.tar.gz",
        _musan,
    ),
    "baf": Dataset(
        "broadcast monitoring: 2,000 references, 3,425 minutes of television, annotated; on request",
        "https://doi.org/10.5281/zenodo.6868083",
        lambda folder, options: baf.scan(folder, jobs=options.jobs, show=options.show),
        5_425,
    ),
}
