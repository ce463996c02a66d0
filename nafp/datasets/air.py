"""Room responses of the Aachen Impulse Response database (AIR 1.4): .mat files into WAV files.

    air_binaural_ROOM_CHANNEL_HEAD_NUMBER[_AZIMUTH[_MICROPHONE]].mat    loudspeaker to dummy head
    air_phone_ROOM_{hhp,hfrp}_CHANNEL.mat                              mouth to mock-up phone

Each holds h_air, one response at 48 kHz as [1, N] or [N, 1], and the struct air_info with fs and
room, among others (the database's own load_air.m). A decoder cannot read them; WAV files can be
listened to as well. Rooms whose names differ in a digit (lecture, lecture1) count as one group.
"""

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

_NAME = re.compile(r"air_(binaural|phone)_(?P<room>[a-z_]+?)\d*_(\d|hhp|hfrp)", re.IGNORECASE)


class Response(NamedTuple):
    """samples: float32 [S], peak 1; room: as the file says, "" where it does not."""

    samples: np.ndarray
    sample_rate_hz: int
    room: str


def read(path: str | os.PathLike) -> Response:
    """Reads one .mat file; raises errors.Undecodable for what is none of the database's."""
    path = os.fspath(path)
    try:
        held = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=True)
    except Exception as error:  # A damaged file makes its parser raise anything.
        raise errors.Undecodable(path, f"not a MATLAB file that can be read ({error})") from None
    if "h_air" not in held or "air_info" not in held:
        names = ", ".join(name for name in held if not name.startswith("__"))
        raise errors.Undecodable(path, f"holds {names or 'nothing'}; h_air and air_info are needed")
    samples = np.ravel(np.asarray(held["h_air"], np.float64))
    peak = np.abs(samples).max(initial=0.0)
    if not peak or not np.isfinite(peak):
        raise errors.Undecodable(path, "its response is empty")
    rate = _field(held["air_info"], "fs")
    if not str(rate).replace(".0", "").isdigit():
        raise errors.Undecodable(path, f"its sample rate is {rate!r}")
    room = str(_field(held["air_info"], "room") or "")
    return Response((samples / peak).astype(np.float32), int(rate), room)


def scan(folder: str, *, converted: str, show: bool = False) -> tuple[list[manifest.Track], list[manifest.Failure]]:
    """Writes the responses below a folder as WAV files into `converted`, and lists those.

    What is there from an earlier time and newer than its source is left as it is.
    """
    tracks: list[manifest.Track] = []
    failures = []
    paths = sorted(_mat_files(folder))
    if not paths:
        raise errors.Invalid(f"{folder}: no .mat files of the AIR database there; unpack its archive")
    os.makedirs(converted, exist_ok=True)
    with progress.Progress(len(paths), "responses", label="convert", show=show) as bar:
        for path in paths:
            try:
                tracks.append(_converted(path, os.path.abspath(converted)))
            except errors.Undecodable as error:
                failures.append(manifest.Failure(path, error.reason))
            bar.add()
    return tracks, failures


def room_of(name: str) -> str:
    """Tells the room from a file name, without a number at its end; "" for another name."""
    found = _NAME.match(os.path.basename(name))
    return found["room"].lower() if found else ""


def _mat_files(folder: str) -> Sequence[str]:
    if not os.path.isdir(folder):
        raise errors.Invalid(f"{folder}: no such folder")
    return [
        os.path.join(place, name)
        for place, _, names in os.walk(os.path.abspath(folder))
        for name in names
        if name.lower().endswith(".mat") and room_of(name)
    ]


def _converted(path: str, folder: str) -> manifest.Track:
    wav = os.path.join(folder, os.path.splitext(os.path.basename(path))[0] + ".wav")
    response = read(path)
    if not os.path.exists(wav) or os.path.getmtime(wav) < os.path.getmtime(path):
        decode.write_wav(wav, response.samples, sample_rate_hz=response.sample_rate_hz)
    seconds = round(len(response.samples) / response.sample_rate_hz, 3)
    extra = (("room", response.room), ("original", path))
    rate = response.sample_rate_hz
    return manifest.Track(wav, seconds, rate, 1, "room", "", f"air/{room_of(path)}", extra)


def _field(info: np.ndarray, name: str) -> object:
    """Takes a field out of a struct, however deep MATLAB has wrapped it."""
    if info.dtype.names is None or name not in info.dtype.names:
        return None
    value = info[name]
    while isinstance(value, np.ndarray) and value.size:
        value = value.ravel()[0] if value.ndim else value.item()
    return value
