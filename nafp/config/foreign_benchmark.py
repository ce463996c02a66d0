"""The configuration files of the benchmark system (flat JSON, or YAML in sections), and what its code fixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nafp.config import foreign_keys as keys

NAME = "the benchmark"
LOWEST_RATE = 1e-7
_SECTIONS = ("Model", "Hyperparameters", "Data", "Augmentations")
_CORPUS = "Recordings come from a corpus: nafp corpus build, then --config.data.corpus=CORPUS."
_SIZE = "The mask has the size of the spectrogram."
AUDSEARCH = {"model.name": "audsearch", "model.channels": (32, 64, 128, 256, 512, 1024)}
# Settings of the first network that the second has no use for.
FINGERPRINTER = {
    "model.time_strides": (2,) * 8,
    "model.padding": "symmetric",
    "model.head_norm": True,
    "model.epsilon": 1e-5,
    "model.activation": "relu",
}
# What holds whatever a file says. An epoch has one second of every song that is not silent. A replica is moved in 30 %
# by 0.1 to 0.25 s either way, its anchor never. Each hears one response, as a second alone.
FIXED: dict[str, Any] = {
    "seed": 42,
    "spectrogram.front_end": "benchmark",
    "spectrogram.low_hz": 0.0,
    "data.windows": "one_a_track",
    "data.window_hop_s": 1.0,
    "data.silence_db": -39.0,  # 8,000 squared samples sum up to 1.
    "augment.offset_s": 0.25,
    "augment.offset_least_s": 0.1,
    "augment.offset_probability": 0.3,
    "augment.offset_from": "grid",
    "augment.offset_anchors": False,
    "augment.context_s": 0.0,
    "augment.noise.probability": 0.8,
    "augment.noise.high_db": 15.0,
    "augment.noise.weights": (50, 30, 20),
    "augment.noise_in_room": 1.0,
    "augment.gain.probability": 0.0,
    "augment.one_response": True,
    "augment.room.probability": 1.0,
    "augment.filters_together": True,
    "augment.cutout.probability": 0.33,
    "augment.cutout.low": 0.0,
    "augment.frequency_mask.probability": 0.0,
    "augment.mask_placing": "started",
    "augment.mask_batch": True,
    "augment.fill": "range",
    "loss.mask_same_track": False,
    "optimizer.scale_with_batch": True,
    "optimizer.schedule": "cosine_waves",
    "optimizer.fall_epochs": 100,
    "optimizer.rate_per_epoch": True,
}
LAMB = {
    "optimizer.name": "lamb",
    "optimizer.lamb_scales": "all",
    "optimizer.eps": 1e-6,
    "optimizer.weight_decay": 0.0,
    "optimizer.bias_correction": "none",
    "optimizer.norm_clamp": 10.0,
}
ADAM = {"optimizer.name": "adam", "optimizer.eps": 1e-8}


def is_of(tree: Mapping[str, Any]) -> bool:
    """Returns whether a file is one of the benchmark's."""
    return bool({"freq_cut_bool", "background_noise_train", "model_str"} & set(flat(tree)))


def flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a file without its sections."""
    inside = {
        key: value for name in _SECTIONS if isinstance(tree.get(name), Mapping) for key, value in tree[name].items()
    }
    return {key: value for key, value in tree.items() if key not in _SECTIONS} | inside


def rates(lr: float, originals: int) -> dict[str, Any]:
    """Returns the settings of a rate for a batch that counts originals alone: the rate is lr x originals / 640."""
    return {
        "optimizer.learning_rate": lr / 2,  # Ours is scaled by originals and replicas.
        "optimizer.final_share": round(LOWEST_RATE / (lr * originals / 640), 12),
    }


def _rate(_: Any, tree: keys.Tree) -> Mapping[str, Any]:
    return rates(float(tree["lr"]), int(tree["batch_size"]))


def _network(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    try:
        return keys.one_of(fingerprinter=FINGERPRINTER, audsearch=AUDSEARCH)(value)
    except ValueError as error:
        raise ValueError(f"{error}. nafp has no BEATs transformer") from error


def _cut_off(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    return dict.fromkeys(("augment.low_pass.probability", "augment.high_pass.probability"), 0.4 if value else 0.0)


def _value(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    return {"augment.fill_low": float(value), "augment.fill_high": float(value)}


KEYS: dict[str, keys.Key] = {
    "epochs": keys.to("train.epochs", int),
    "patience": keys.to("validate.patience", int, why="Of validations by the mini-search, not by the loss."),
    "batch_size": keys.to("train.batch_size", lambda value: 2 * int(value), why="There it counts originals alone."),
    "lr": keys.into(_rate, why="Both scale it with the batch."),
    "optimizer": keys.into(lambda value, _: keys.one_of(lamb=LAMB, adam=ADAM)(value)),
    "loss": keys.to("loss.name", keys.one_of(contrastive="nt_xent", angular="angular")),
    "alpha": keys.to("loss.alpha_deg", float),
    "miner_alpha": keys.to("loss.miner_deg", float),
    "model_str": keys.into(_network),
    "feature": keys.only(("spectrogram",), "fbanks are for the BEATs transformer, which nafp does not have"),
    "backbone_weights": keys.only((None, ""), "they are for the BEATs transformer, which nafp does not have"),
    "freeze_encoder": keys.only((False, None), "nafp trains all of a network"),
    "div_encoder_layer": keys.only((True, None), "nafp's networks end in that layer"),
    "freq_cut_bool": keys.into(_cut_off),
    "spec_aug_params.value": keys.into(_value),
    "spec_aug_params.H": keys.ignored(_SIZE),
    "spec_aug_params.W": keys.ignored(_SIZE),
    "spec_aug_params.H_prob": keys.to("augment.cutout.high", float),
    "spec_aug_params.W_prob": keys.to("augment.cutout.time_high", float),
    "model_name": keys.ignored("A run lies where --workdir says."),
    "output_path": keys.ignored("A run lies where --workdir says."),
    **dict.fromkeys(
        (
            *("data_path", "train_pickle", "val_pickle", "train_data_paths", "val_data_paths"),
            *("background_noise_train", "background_noise_val", "impulse_responses_train", "impulse_responses_val"),
        ),
        keys.ignored(_CORPUS),
    ),
}
# What a file leaves out is as the benchmark's code has it.
DEFAULTS: dict[str, Any] = {
    "model_str": "fingerprinter",
    "freq_cut_bool": True,
    "loss": "contrastive",
    "spec_aug_params": {"value": -80.0, "H_prob": 0.5, "W_prob": 0.1},
}
