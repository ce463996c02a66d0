"""Converts the room responses of the Aachen Impulse Response database (AIR 1.4) from .mat to WAV files.

    air_binaural_ROOM_CHANNEL_HEAD_NUMBER[_AZIMUTH[_MICROPHONE]].mat    loudspeaker to dummy head
    air_phone_ROOM_{hhp,hfrp}_CHANNEL.mat                              mouth to mock-up phone

Each file holds h_air, one response at 48 kHz as [1, N] or [N, 1], and the struct air_info with fs, room and other
fields (see the database's own load_air.m). Of several channels the first is taken. Audio decoders cannot read these
files. Every .mat file is read, whatever its name. A file that holds something else is reported. Rooms whose names
differ in a digit (lecture, lecture1) are one group. A file of another name is grouped by the room that it holds.
"""

import collections
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.io

from nafp import errors
from nafp.audio import decode
from nafp.corpora import manifest
from nafp.jobs import progress

_MOST_HZ = 1_000_000  # No converter samples faster.
_NAME = re.compile(r"air_(binaural|phone)_(?P<room>[a-z_]+?)\d*_(\d|hhp|hfrp)", re.IGNORECASE)


class AirResponse(NamedTuple):
    """A room response. samples: float32 [S] with peak 1. room: its name in the file, "" if the file has none."""

    samples: np.ndarray
    sample_rate_hz: int
    room: str


def read(path: str | os.PathLike) -> AirResponse:
    """Reads one .mat file. Raises errors.Undecodable for a file that is not of this database."""
    path = os.fspath(path)
    try:
        content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=True)
    except Exception as error:  # A damaged file makes the parser raise any error.
        raise errors.Undecodable(path, f"not a MATLAB file that can be read ({error})") from None
    if "h_air" not in content or "air_info" not in content:
        names = ", ".join(name for name in content if not name.startswith("__"))
        raise errors.Undecodable(path, f"holds {names or 'nothing'}; h_air and air_info are needed")
    try:
        samples = _one_channel(np.asarray(content["h_air"]).astype(np.float64, casting="same_kind"))
    except (TypeError, ValueError) as error:
        raise errors.Undecodable(path, f"h_air holds no real numbers ({error})") from None
    about = np.asarray(content["air_info"])
    peak = np.abs(samples).max(initial=0.0)
    if not peak or not np.isfinite(peak):
        raise errors.Undecodable(path, "its response is empty")
    rate = str(_field(about, "fs")).removesuffix(".0")
    if not rate.isdecimal() or not 0 < int(rate) <= _MOST_HZ:
        raise errors.Undecodable(path, f"its sample rate is {rate!r}; a whole number of hertz is needed")
    return AirResponse((samples / peak).astype(np.float32), int(rate), str(_field(about, "room") or ""))


def scan(folder: str, *, converted: str, show: bool = False) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Writes the responses below a folder as WAV files into the folder `converted`, and lists the WAV files.

    A WAV file that is newer than its source is kept.
    """
    tracks: list[manifest.Track] = []
    failures = []
    paths = sorted(_mat_files(folder))
    if not paths:
        raise errors.Invalid(f"{folder}: no .mat files of the AIR database there; unpack its archive")
    os.makedirs(converted, exist_ok=True)
    n_named = collections.Counter(map(_stem, paths))
    with progress.Progress(len(paths), "responses", label="convert", show=show) as bar:
        for path in paths:
            try:
                inside = os.path.splitext(os.path.relpath(path, folder))[0].replace(os.sep, "_")
                name = _stem(path) if n_named[_stem(path)] == 1 else inside
                tracks.append(_converted(path, os.path.join(os.path.abspath(converted), f"{name}.wav")))
            except errors.Undecodable as error:
                failures.append(manifest.Failure(path, error.reason))
            bar.add()
    return tracks, failures


def room_of(name: str) -> str:
    """Returns the room that a file name tells, without a number at its end, "" for a name that is not of AIR."""
    match = _NAME.match(os.path.basename(name))
    return match["room"].lower() if match else ""


def _mat_files(folder: str) -> Sequence[str]:
    if not os.path.isdir(folder):
        raise errors.Invalid(f"{folder}: no such folder")
    return [
        os.path.join(place, name)
        for place, _, names in os.walk(os.path.abspath(folder))
        for name in names
        if name.lower().endswith(".mat") and not name.startswith(".")
    ]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _converted(path: str, wav: str) -> manifest.Track:
    response = read(path)
    if not os.path.exists(wav) or os.path.getmtime(wav) < os.path.getmtime(path):
        decode.write_wav(wav, response.samples, sample_rate_hz=response.sample_rate_hz)
    seconds = round(len(response.samples) / response.sample_rate_hz, 3)
    extra = (("room", response.room), ("original", path))
    rate = response.sample_rate_hz
    group = room_of(path) or response.room.strip().lower() or _stem(path)
    return manifest.Track(wav, seconds, rate, 1, "room", "", f"air/{group}", extra)


def _one_channel(response: np.ndarray) -> np.ndarray:
    """Returns the first channel of a response [N], [N, channels] or [channels, N]: float64 [N]."""
    if response.ndim == 2 and min(response.shape):
        return response[:, 0] if response.shape[0] > response.shape[1] else response[0]
    return np.ravel(response)


def _field(info: np.ndarray, name: str) -> object:
    """Returns a field of a struct, however deep MATLAB has wrapped it, None if it is missing or empty."""
    if info.dtype.names is None or name not in info.dtype.names:
        return None
    value = info[name]
    while isinstance(value, np.ndarray) and value.size:
        value = value.ravel()[0] if value.ndim else value.item()
    return None if isinstance(value, np.ndarray) else value
