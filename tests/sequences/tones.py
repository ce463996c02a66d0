"""Made-up fingerprints of clips: each clip walks through directions of its own, and its versions stray from it."""

import pathlib

import numpy as np

from nafp.sequences import clips, settings

DIM = 8


def sequence(seed: int, n_rows: int = 20) -> np.ndarray:
    """Returns the fingerprints of a clip, float32 [n, 8] of unit length, around a direction of its own."""
    rng = np.random.default_rng(seed)
    return unit(2 * rng.standard_normal(DIM) + rng.standard_normal((n_rows, DIM)))


def degraded(rows: np.ndarray, seed: int, *, by: float = 0.2) -> np.ndarray:
    return unit(rows + by * np.random.default_rng(seed).standard_normal(rows.shape))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def folder(
    path: pathlib.Path, *, n_clips: int = 12, versions: int = 3, n_rows: int = 20, by: float = 0.2
) -> pathlib.Path:
    """Writes a folder of clips, as `nafp amg clips` does. by: how far the degraded versions stray."""
    writer = clips.Writer(path, {"model": {"sha256": "ab"}})
    for number in range(n_clips):
        rows = sequence(number, n_rows)
        copies = [degraded(rows, 100 * number + version, by=by) for version in range(1, versions)]
        writer.append(clips.Place(f"song{number}", 0.0), [rows, *copies])
    return path


def tiny(clips_folder: pathlib.Path, **changes):
    """Returns a configuration for these clips that compiles soon. changes: settings by name, such as train.steps."""
    config = settings.default()
    few = {"data.clips": str(clips_folder), "data.val_share": 0.25, "chunk.seconds": 5, "train.batch_size": 8}
    small = {"fingerprint_dim": DIM, "dim": DIM, "width": 8, "layers": 1, "heads": 2, "feed_forward": 8}
    few |= {f"model.{name}": value for name, value in small.items()}
    config.update_from_flattened_dict(few | changes)
    return config
