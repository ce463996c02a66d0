"""A page to listen to: players and spectrograms of clean sound beside degraded sound, in one file.

The HTML holds its sound (16-bit WAV) and its pictures itself, and needs no network and no library.
Starting one player stops the other and goes on at its place, so that two versions compare by ear.
"""

import base64
import html
import io
import json
import os
import pathlib
import struct
import wave
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import signal

from nafp.audio import decode
from nafp.jobs import whole_files

from . import excerpts, material, render

_HEIGHT, _WIDTH = 128, 420  # Of a spectrogram, in points.
_DEPTH_DB = 75.0  # From the loudest point to black.
_LOWEST_HZ = 60.0
# Black over purple and orange to pale yellow: brightness grows evenly, also for colour-blind eyes.
_COLOURS = (
    (0, 0, 4),
    (66, 10, 104),
    (147, 38, 103),
    (221, 81, 58),
    (252, 165, 10),
    (252, 255, 164),
)


class Version(NamedTuple):
    """One sound of a clip. samples: float32 [S]; image: [F, T], low frequencies first, in place of
    the sound's own spectrogram; notes: what happened to it."""

    label: str
    samples: np.ndarray
    sample_rate_hz: int
    notes: str = ""
    image: np.ndarray | None = None


class Clip(NamedTuple):
    title: str
    versions: Sequence[Version]


def of_conditions(
    source: material.Material,
    noise: material.Material,
    *,
    split: str,
    names: Sequence[str],
    count: int,
    seconds: float,
    seed: int = 0,
    spliced: bool = False,
) -> list[Clip]:
    """Cuts `count` excerpts and puts each through the conditions: the sound that `render` writes."""
    chain = render.parse(names, unshifted=spliced)
    around = render.surroundings_of(noise, chain, split)
    context_s = (render.SHIFT_S,) * 2 if spliced else (excerpts.CONTEXT_S, excerpts.FLUSH_S)
    chooser = excerpts.Chooser(
        source,
        split=split,
        seconds=seconds * max(condition.rate for condition in chain),
        before_s=context_s[0],
        after_s=context_s[1],
        seed=seed,
    )
    clips = []
    for i in range(count):
        cut = chooser.excerpt(i)
        rate = cut.piece.sample_rate_hz
        clean = cut.samples[cut.before :][: round(seconds * rate)]
        versions = [Version("clean", clean, rate)]
        for condition in chain:
            if condition.name != "clean":
                take = render.degraded(cut, condition, around, seconds, [seed, i], spliced)
                versions.append(Version(condition.name, take.samples, rate, _noted({**take.notes})))
        place = f"{material.stem(cut.piece.name)}, from {cut.first / rate:.1f} s"
        clips.append(Clip(place, versions))
    return clips


def _noted(notes: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in notes.items())


def write(path: str | os.PathLike, clips: Sequence[Clip], *, title: str, about: str = "") -> None:
    """Writes the page, whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.opened(path, encoding="utf-8") as file:
        file.write(page(clips, title=title, about=about))


def page(clips: Sequence[Clip], *, title: str, about: str = "") -> str:
    """Gives the page as HTML."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    body += [f"<p>{html.escape(line)}</p>" for line in about.splitlines() if line.strip()]
    for clip in clips:
        cards = "\n".join(_card(version) for version in clip.versions)
        body.append(f"<h2>{html.escape(clip.title)}</h2>\n<div class='clip'>\n{cards}\n</div>")
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n"
        + "\n".join(body)
        + f"\n<script>{_SCRIPT}</script>\n</html>\n"
    )


def _card(version: Version) -> str:
    label, notes = html.escape(version.label), html.escape(version.notes)
    image = version.image
    if image is None:
        image = spectrogram(version.samples, sample_rate_hz=version.sample_rate_hz)
    picture = _data("image/png", png(image))
    sound = _data("audio/wav", wav(version.samples, sample_rate_hz=version.sample_rate_hz))
    return (
        f"<figure><figcaption>{label}</figcaption>"
        f'<div class="picture"><img alt="spectrogram: {label}" src="{picture}"><i></i></div>'
        f'<audio controls preload="none" aria-label="{label}" src="{sound}"></audio>'
        f"<small>{notes}</small></figure>"
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def wav(samples: np.ndarray, *, sample_rate_hz: int) -> bytes:
    """Gives samples [S] as a 16-bit WAV file, turned down where they would clip."""
    loudest = np.abs(samples).max(initial=0.0)
    kept = decode.to_int16(samples / np.float32(max(1.0, loudest * 32768 / 32767)))
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate_hz)
        file.writeframes(kept.tobytes())
    return held.getvalue()


def spectrogram(samples: np.ndarray, *, sample_rate_hz: int) -> np.ndarray:
    """Gives levels in dB [F, T], frequencies spaced as octaves are, low ones first."""
    n_fft = 1 << round(np.log2(sample_rate_hz / 12))
    samples = np.pad(samples, (0, max(0, n_fft - len(samples))))
    hop = max(1, (len(samples) - n_fft) // _WIDTH)
    hz, _, bins = signal.stft(samples, sample_rate_hz, nperseg=n_fft, noverlap=n_fft - min(hop, n_fft // 2))
    edges = np.geomspace(_LOWEST_HZ, sample_rate_hz / 2, _HEIGHT)
    power = np.square(np.abs(bins))
    rows = [np.interp(edges, hz, column) for column in power.T]
    return 10 * np.log10(np.array(rows).T + 1e-12)


def png(levels: np.ndarray) -> bytes:
    """Draws levels [F, T], low frequencies first, as a PNG file: bright is loud."""
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
    examples: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    *,
    sample_rate_hz: int,
    segment_s: float,
) -> list[Clip]:
    """Lays out (title, clean, degraded [S], clean, degraded log-mel [F, T]) as nafp.training gives."""
    n_samples, clips = round(segment_s * sample_rate_hz), []
    for title, clean, degraded, *mels in examples:
        versions = [
            Version("clean", clean, sample_rate_hz),
            Version("degraded", degraded, sample_rate_hz),
        ]
        for sound, mel in zip(tuple(versions), mels, strict=True):
            label = f"{sound.label}, its first segment as the network sees it"
            begin = sound.samples[:n_samples]
            versions.append(Version(label, begin, sample_rate_hz, image=mel))
        clips.append(Clip(title, versions))
    return clips


def settings_text(settings: Mapping) -> str:
    """Writes settings as one line a section, for the head of a page."""
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in settings.items())


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.05rem; margin: 2.5rem 0 0.5rem; }
p { max-width: 60rem; margin: 0.2rem 0; overflow-wrap: anywhere; }
.clip { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid #ddd; border-radius: 6px; padding: 0.6rem; }
figcaption { font-weight: 600; } small { color: #555; overflow-wrap: anywhere; }
.picture { position: relative; margin: 0.4rem 0; cursor: pointer; }
.picture img { width: 100%; height: 8rem; display: block; border-radius: 3px; }
.picture i { position: absolute; top: 0; bottom: 0; left: 0; width: 2px; background: #fff;
             opacity: 0; }
audio { width: 100%; height: 2.2rem; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #161616; } figure { border-color: #444; } small { color: #aaa; }
}
"""
_SCRIPT = """
const players = [...document.querySelectorAll('audio')];
for (const player of players) {
  const picture = player.parentNode.querySelector('.picture');
  const line = picture.querySelector('i');
  player.addEventListener('play', () => {
    for (const other of players) {
      if (other === player || other.paused) continue;
      if (other.closest('.clip') === player.closest('.clip')) player.currentTime = other.currentTime;
      other.pause();
    }
  });
  player.addEventListener('timeupdate', () => {
    line.style.opacity = 0.9;
    line.style.left = 100 * player.currentTime / (player.duration || 1) + '%';
  });
  picture.addEventListener('click', event => {
    const place = event.offsetX / picture.clientWidth;
    const start = () => { player.currentTime = place * player.duration; player.play(); };
    if (player.readyState) start();
    else { player.addEventListener('loadedmetadata', start, {once: true}); player.load(); }
  });
}
"""
