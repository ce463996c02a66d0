"""The configuration files of pfann (JSON), and what its code fixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nafp.config import foreign_keys as keys

NAME = "pfann"
LOWEST_RATE = 1e-7
OFF_DB = 120.0  # pfann's files switch noise off by a ratio of 10,000 dB.
_CORPUS = "Recordings come from a corpus: nafp corpus build, then --config.data.corpus=CORPUS."
# What holds whatever a file says. Offsets are later than the grid, for original and replica alike; noise is heard in
# the room; one draw of masks is for the whole batch; nothing is silent and every other segment is a negative.
FIXED: dict[str, Any] = {
    "seed": 123,
    "spectrogram.front_end": "pfann",
    "model.time_strides": (2,) * 8,
    "model.epsilon": 1e-5,
    "model.activation": "relu",
    "model.activation_order": "after_norm",
    "model.depthwise": True,
    "data.silence_db": -120.0,
    "augment.offset_direction": "later",
    "augment.offset_from": "grid",
    "augment.context_s": 0.0,
    "augment.noise_in_room": 1.0,
    "augment.gain.probability": 0.0,
    "augment.room.probability": 1.0,
    "augment.microphone.probability": 1.0,
    "augment.low_pass.probability": 0.0,
    "augment.high_pass.probability": 0.0,
    "augment.time_mask.probability": 1.0,
    "augment.mask_batch": True,
    "augment.fill": "zeros",
    "loss.mask_same_track": False,
    "optimizer.name": "adam",
    "optimizer.eps": 1e-8,
    "optimizer.rate_per_epoch": True,
    "optimizer.final_share": 1e-3,
}
LAMB = {
    "optimizer.name": "lamb",
    "optimizer.lamb_scales": "all",
    "optimizer.eps": 1e-6,
    "optimizer.weight_decay": 1e-6,
    "optimizer.bias_correction": "step",
    "optimizer.norm_clamp": 1e3,
}


def is_of(tree: Mapping[str, Any]) -> bool:
    """Returns whether a file is one of pfann's."""
    return bool({"segment_size", "stft_n", "shuffle_size", "micirp", "air"} & set(tree))


def _rate(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    return {"optimizer.learning_rate": float(value), "optimizer.final_share": round(LOWEST_RATE / float(value), 12)}


def _channels(_: Any, tree: keys.Tree) -> Mapping[str, Any]:
    model = tree["model"]
    d, h = int(model.get("d", 128)), int(model.get("h", 1024))
    return {"model.dim": d, "model.channels": (d, d, 2 * d, 2 * d, 4 * d, 4 * d, h, h)}


def _strides(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    if any(list(frequency) != [2, 1] or time[0] != 1 for time, frequency in value):
        raise ValueError("nafp's blocks have strides (1, any) along time and then (2, 1) along frequency")
    return {"model.time_strides": tuple(int(time[1]) for time, _ in value)}


def _offset(value: Any, tree: keys.Tree) -> Mapping[str, Any]:
    return {"augment.offset_s": round(float(value) - float(tree.get("segment_size", 1)), 6)}


def _ratios(_: Any, tree: keys.Tree) -> Mapping[str, Any]:
    low, high = float(tree["noise"]["snr_min"]), float(tree["noise"]["snr_max"])
    if low >= OFF_DB:
        return {"augment.noise.probability": 0.0}
    return {"augment.noise.low_db": low, "augment.noise.high_db": high}


def _off_without(kind: str) -> keys.Key:
    """Describes the list of a kind of sound. An empty one switches the kind off."""
    return keys.into(lambda value, _: {} if value else {f"augment.{kind}.probability": 0.0}, why=_CORPUS)


def _masks(end: str) -> keys.Key:
    names = [f"augment.{mask}.{end}" for mask in ("cutout", "frequency_mask", "time_mask")]
    return keys.into(lambda value, _: dict.fromkeys(names, float(value)))


def _of_sounds(section: str, kind: str) -> dict[str, keys.Key]:
    return {
        f"{section}.train": _off_without(kind),
        f"{section}.validate": keys.ignored("Validation takes its sounds from config.data.val_noise_split."),
        f"{section}.dir": keys.ignored(_CORPUS),
    }


KEYS: dict[str, keys.Key] = {
    **dict.fromkeys(("train_csv", "validate_csv", "test_csv", "music_dir", "dir"), keys.ignored(_CORPUS)),
    "cache_dir": keys.ignored("The corpus is the cache."),
    "model_dir": keys.ignored("A run lies where --workdir says."),
    "fftconv_n": keys.ignored("Transforms are always long enough for a linear convolution."),
    "dynamic_range": keys.ignored("pfann itself does not use it."),
    "clips_per_song": keys.ignored("Every window of a track is trained on."),
    "indexer": keys.ignored("Indexes are chosen when databases are made and searched, not in training."),
    "sample_rate": keys.to("audio.sample_rate_hz", int),
    "segment_size": keys.to("audio.segment_s", float),
    "hop_size": keys.to("audio.hop_s", float),
    "stft_n": keys.to("spectrogram.n_fft", int),
    "stft_hop": keys.to("spectrogram.stft_hop", int),
    "n_mels": keys.to("spectrogram.n_mels", int),
    "f_min": keys.to("spectrogram.low_hz", float),
    "f_max": keys.to("spectrogram.high_hz", float),
    "naf_mode": keys.to("spectrogram.naf_mode", bool),
    "mel_log": keys.to("spectrogram.mel_log", keys.one_of(log="log", log10="log10", none="none")),
    "spec_norm": keys.to("spectrogram.spec_norm", keys.one_of(l2="l2", max="max")),
    "batch_size": keys.to("train.batch_size", int, why="Both count originals and replicas."),
    "shuffle_size": keys.to("data.shuffle_tracks", lambda value: int(value or 0)),
    "time_offset": keys.into(_offset),
    "pad_start": keys.to("augment.context_s", float),
    "epoch": keys.to("train.epochs", int),
    "lr": keys.into(_rate),
    "tau": keys.to("loss.temperature", float),
    "optimizer": keys.into(lambda value, _: keys.one_of(adam={"optimizer.name": "adam"}, lamb=LAMB)(value)),
    "cutout_min": _masks("low"),
    "cutout_max": _masks("high"),
    **_of_sounds("noise", "noise"),
    "noise.snr_min": keys.into(_ratios),
    "noise.snr_max": keys.into(_ratios),
    **_of_sounds("air", "room"),
    "air.length": keys.to("augment.room.seconds", float),
    **_of_sounds("micirp", "microphone"),
    "micirp.length": keys.to("augment.microphone.seconds", float),
    "model.d": keys.into(_channels),
    "model.h": keys.into(_channels),
    "model.u": keys.to("model.head_hidden", int),
    "model.fuller": keys.to("model.depthwise", lambda value: not value),
    "model.conv_activation": keys.to("model.activation", keys.one_of(relu="relu", elu="elu")),
    "model.relu_after_bn": keys.to("model.activation_order", lambda value: "after_norm" if value else "before_norm"),
    "model.strides": keys.into(_strides),
}
