"""A page to listen to: players and spectrograms of clean sound beside degraded sound, in one file.

The HTML holds its sounds (16-bit WAV) and its pictures. It needs no network and no library.
Starting one player stops the other and continues at its place, so that two versions compare by ear.
"""

import base64
import io
import os
import pathlib
import struct
import wave
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import signal

from nafp.audio import decode
from nafp.jobs import outputs, whole_files

from ..pages import layout
from . import material, rendering

_VERB = "nafp queries listen"
_OLD_MARK = b".clip { display: grid;"  # In the pages of versions up to 0.2, from their style sheet.
_HEIGHT, _WIDTH = 128, 420  # Of a spectrogram, in points.
_DEPTH_DB = 75.0  # From the loudest point to black.
_LOWEST_HZ = 60.0
# From black over purple and orange to pale yellow. Brightness grows evenly, also for colour-blind eyes.
_COLOURS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
_TEMPLATES = pathlib.Path(__file__).with_name("templates")
_Settings = Sequence[tuple[str, Sequence[tuple[str, str]]]]  # Sections of names and values.


class PageSound(NamedTuple):
    """One sound of a clip.

    samples: float32 [S]. notes: what happened to the sound. image: levels [F, T] with low frequencies first, drawn in
    place of the spectrogram of the samples.
    """

    label: str
    samples: np.ndarray
    sample_rate_hz: int
    notes: str = ""
    image: np.ndarray | None = None


class PageClip(NamedTuple):
    """A place in a recording, and how it sounds under each condition."""

    title: str
    sounds: Sequence[PageSound]


def of_conditions(
    source: material.Material,
    noise: material.Material,
    *,
    split: str,
    noise_split: str = "",
    names: Sequence[str],
    count: int,
    seconds: float,
    seed: int = 0,
    spliced: bool = False,
) -> list[PageClip]:
    """Cuts `count` excerpts of `seconds` and degrades each by the named conditions, as `rendering.render` does."""
    chain = rendering.parse(names, unshifted=spliced)
    surroundings = rendering.surroundings_of(noise, chain, noise_split or split)
    chooser = rendering.chooser_of(source, chain, split=split, seconds=seconds, seed=seed, spliced=spliced)
    clips = []
    for i in range(count):
        cut = chooser.excerpt(i)
        rate = cut.piece.sample_rate_hz
        clean = cut.samples[cut.before :][: round(seconds * rate)]
        sounds = [PageSound("clean", clean, rate)]
        for condition in chain:
            if condition.name != "clean":
                take = rendering.degraded(cut, condition, surroundings, seconds, [seed, i], spliced)
                sounds.append(PageSound(condition.name, take.samples, rate, _noted(take.notes)))
        place = f"{material.stem(cut.piece.name)}, from {cut.first / rate:.1f} s"
        clips.append(PageClip(place, sounds))
    return clips


def _noted(notes: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in notes.items())


def require_out(path: str | os.PathLike) -> None:
    """Raises nafp.errors.Invalid if `write` would replace a file that is no former page."""
    is_ours = layout.is_made_by(_VERB)
    outputs.require(path, verb=_VERB, is_former=lambda head: is_ours(head) or _OLD_MARK in head)


def write(
    path: str | os.PathLike, clips: Sequence[PageClip], *, title: str, about: str = "", settings: _Settings = ()
) -> None:
    """Writes the page to `path`, whole or not at all. The rest is as for `page`."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of recordings are bytes: those that are no text are shown as escapes.
    with whole_files.opened(path, encoding="utf-8", errors="backslashreplace") as file:
        file.write(page(clips, title=title, about=about, settings=settings))


def page(clips: Sequence[PageClip], *, title: str, about: str = "", settings: _Settings = ()) -> str:
    """Returns the page as HTML.

    about: paragraphs for its head, one on each line. settings: as `settings_tables` returns them.
    """
    return layout.page(
        _TEMPLATES,
        "listen.html",
        maker=_VERB,
        title=title,
        scripts=["listen.js"],
        about=[line for line in about.splitlines() if line.strip()],
        depth_db=f"{_DEPTH_DB:g}",
        settings=settings,
        clips=[{"title": clip.title, "sounds": map(_card, clip.sounds)} for clip in clips],
    )


def _card(sound: PageSound) -> dict[str, str]:
    """Returns what the template shows of a sound."""
    image = sound.image
    if image is None:
        image = spectrogram(sound.samples, sample_rate_hz=sound.sample_rate_hz)
    return {
        "label": sound.label,
        "notes": sound.notes,
        "hz": f"{_LOWEST_HZ:g} Hz to {sound.sample_rate_hz / 2000:g} kHz" if sound.image is None else "mel bands",
        "seconds": f"{len(sound.samples) / sound.sample_rate_hz:.1f}",
        "picture": _data("image/png", png(image)),
        "audio": _data("audio/wav", wav(sound.samples, sample_rate_hz=sound.sample_rate_hz)),
    }


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def wav(samples: np.ndarray, *, sample_rate_hz: int) -> bytes:
    """Returns samples [S] as the bytes of a 16-bit WAV file, turned down if they would clip."""
    loudest = np.abs(samples).max(initial=0.0)
    pcm = decode.to_int16(samples / np.float32(max(1.0, loudest * 32768 / 32767)))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


def spectrogram(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Returns levels in dB [F, T], with frequencies spaced like octaves, low ones first."""
    n_fft = 1 << round(np.log2(sample_rate_hz / 12))
    samples = np.pad(samples, (0, max(0, n_fft - len(samples))))
    hop = max(1, (len(samples) - n_fft) // _WIDTH)
    hz, _, bins = signal.stft(samples, sample_rate_hz, nperseg=n_fft, noverlap=n_fft - min(hop, n_fft // 2))
    edges = np.geomspace(_LOWEST_HZ, sample_rate_hz / 2, _HEIGHT)
    power = np.square(np.abs(bins))
    rows = [np.interp(edges, hz, column) for column in power.T]
    return 10 * np.log10(np.array(rows).T + 1e-12)


def png(levels: np.ndarray) -> bytes:
    """Draws levels [F, T], low frequencies first, and returns the bytes of a PNG file. Bright is loud."""
    low = max(levels.min(), levels.max() - _DEPTH_DB) if levels.size else 0.0
    scaled = (levels - low) / max(1e-9, levels.max() - low)
    pixels = np.clip(scaled * 255, 0, 255).astype(np.uint8)[::-1]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    height, width = pixels.shape
    ramp = np.linspace(0, len(_COLOURS) - 1, 256)
    palette = np.stack([np.interp(ramp, range(len(_COLOURS)), channel) for channel in zip(*_COLOURS)], axis=1)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)),
            (b"PLTE", palette.astype(np.uint8).tobytes()),
            (b"IDAT", zlib.compress(rows, 9)),
            (b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def from_training(
    examples: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    *,
    sample_rate_hz: int,
    segment_s: float,
) -> list[PageClip]:
    """Returns the clips of training examples, as `nafp.training.listening.examples` returns them.

    examples: (path, clean [S], degraded [S], clean log-mel [F, T], degraded log-mel [F, T]).
    """
    n_samples, clips = round(segment_s * sample_rate_hz), []
    for path, clean, degraded, *mels in examples:
        sounds = [PageSound("clean", clean, sample_rate_hz), PageSound("degraded", degraded, sample_rate_hz)]
        for sound, mel in zip(tuple(sounds), mels, strict=True):
            label = f"{sound.label}, its first segment as the network sees it"
            sounds.append(PageSound(label, sound.samples[:n_samples], sample_rate_hz, image=mel))
        clips.append(PageClip(material.stem(path), sounds))
    return clips


def settings_tables(settings: Mapping[str, Any], *, name: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Returns settings as sections of names and values for people, such as "config.augment.noise".

    name: what the settings are called. A section within a section becomes one of its own.
    """
    plain = [(key, _words(value)) for key, value in settings.items() if not isinstance(value, Mapping)]
    inner = [(key, value) for key, value in settings.items() if isinstance(value, Mapping)]
    sections = [section for key, value in inner for section in settings_tables(value, name=f"{name}.{key}")]
    return [(name, plain), *sections] if plain else sections


def _words(value: Any) -> str:
    """Returns a value as people write it: yes and no, a dash for nothing, and commas between the parts of a list."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value if value not in (None, "") else "–")
