"""The configuration files of the original system (YAML), and what its code fixes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nafp.config import foreign_keys as keys

NAME = "the original"
_CORPUS = "Recordings come from a corpus: nafp corpus build, then --config.data.corpus=CORPUS."
_EVALUATION = "It concerns generate and evaluate, not training: nafp queries, nafp extract, nafp evaluate."
_ONE_DEGRADATION = "Validation degrades as training does."
# What holds whatever a file says. A replica hears one response of 600 samples, rooms and microphones together, by a
# circular convolution of its second alone; its peak is brought to 1; masks are drawn once for the whole batch.
FIXED: dict[str, Any] = {
    "spectrogram.front_end": "original",
    "data.silence_db": -120.0,
    "augment.context_s": 0.0,
    "augment.noise_in_room": 1.0,
    "augment.gain.probability": 0.0,
    "augment.one_response": True,
    "augment.circular": True,
    "augment.room.probability": 1.0,
    "augment.room.seconds": 0.075,
    "augment.low_pass.probability": 0.0,
    "augment.high_pass.probability": 0.0,
    "augment.peak_replicas": True,
    "augment.mask_placing": "centred",
    "augment.mask_batch": True,
    "augment.fill": "zeros",
    "loss.mask_same_track": False,
    "optimizer.final_share": 1e-6,
}
LAMB = {
    "optimizer.name": "lamb",
    "optimizer.lamb_scales": "all",
    "optimizer.eps": 1e-6,
    "optimizer.bias_correction": "moments",
}
ADAM = {"optimizer.name": "adam", "optimizer.eps": 1e-7, "optimizer.bias_correction": "step"}
_TRIPLET = {"loss.name": "original_triplet", "loss.mining": "semi-hard"}
_RESTARTS = {
    "optimizer.schedule": "cosine_restarts",
    "optimizer.restart_share": 0.1,
    "optimizer.final_share": 2e-6,
}
_MASKS = {"cutout": "cutout", "horizontal": "frequency_mask", "vertical": "time_mask"}


def is_of(tree: Mapping[str, Any]) -> bool:
    """Returns whether a file is one of the original's."""
    return bool({"BSZ", "TD_AUG", "SPEC_AUG", "DATA_SEL"} & set(tree))


def _anchors(value: Any, tree: keys.Tree) -> Mapping[str, Any]:
    segments = int(tree["BSZ"]["TR_BATCH_SZ"])
    if segments % int(value):
        raise ValueError(f"does not divide TR_BATCH_SZ={segments}")
    return {"augment.replicas": segments // int(value) - 1}


def _share(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    return {"data.fraction": float(value) / 100 if value else 1.0}


def _ratios(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    low, high = (float(end) for end in value)
    return {f"augment.{kind}.{end}_db": x for kind in ("noise", "speech") for end, x in (("low", low), ("high", high))}


def _responses(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    # Without a response the random gain after the mix stays: 0 to -20 dB below a peak of 1.
    return {"augment.room.probability": float(bool(value)), "augment.gain.probability": float(not value)}


def _masks(value: Any, tree: keys.Tree) -> Mapping[str, Any]:
    unknown = sorted(set(value) - set(_MASKS))
    if unknown:
        raise ValueError(f"nafp has masks for {', '.join(_MASKS)}, not for {', '.join(unknown)}")
    stated = tree["SPEC_AUG"].get("SPECAUG_PROBS", 1.0)
    shares = stated if isinstance(stated, list) else [stated] * len(value)
    chosen = dict.fromkeys(_MASKS.values(), 0.0) | {_MASKS[mask]: float(p) for mask, p in zip(value, shares)}
    return {f"augment.{mask}.probability": p for mask, p in chosen.items()}


def _fill(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    if isinstance(value, (list, tuple)):
        return {"augment.fill": "range", "augment.fill_low": float(value[0]), "augment.fill_high": float(value[1])}
    return {"augment.fill": keys.one_of(zeros="zeros", min="mean", random="random")(value)}


def _optimizer(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    return keys.one_of(lamb=LAMB, adam=ADAM)(value)


def _schedule(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    constant = {"optimizer.schedule": "constant"}
    words = dict(cos={"optimizer.schedule": "cosine"}, cos_restart=_RESTARTS, none=constant)
    return keys.one_of(**words)(value or "none")


def _loss(value: Any, _: keys.Tree) -> Mapping[str, Any]:
    words = dict(ntxent={"loss.name": "nt_xent"}, online_triplet=_TRIPLET, semi_hard_triplet=_TRIPLET)
    return keys.one_of(**words)(value)


KEYS: dict[str, keys.Key] = {
    "DIR": keys.ignored(f"{_CORPUS} A run lies where --workdir says."),
    "DATA_SEL.TRAIN": keys.ignored(_CORPUS),
    "DATA_SEL.TEST_DUMMY_DB": keys.ignored(_EVALUATION),
    "DATA_SEL.TEST_QUERY_DB": keys.ignored(_EVALUATION),
    "DATA_SEL.REDUCE_ITEMS_P": keys.into(_share, why="It is a share of the tracks here, of the batches there."),
    "MODEL.FEAT": keys.to("spectrogram.maxnorm", keys.one_of(melspec=False, melspec_maxnorm=True)),
    "MODEL.FS": keys.to("audio.sample_rate_hz", int),
    "MODEL.DUR": keys.to("audio.segment_s", float),
    "MODEL.HOP": keys.to("audio.hop_s", float),
    "MODEL.STFT_WIN": keys.to("spectrogram.n_fft", int),
    "MODEL.STFT_HOP": keys.to("spectrogram.stft_hop", int),
    "MODEL.F_MIN": keys.to("spectrogram.low_hz", float),
    "MODEL.F_MAX": keys.to("spectrogram.high_hz", float),
    "MODEL.N_MELS": keys.to("spectrogram.n_mels", int),
    "MODEL.EMB_SZ": keys.to("model.dim", int),
    "MODEL.BN": keys.to(
        "model.norm",
        keys.one_of(layer_norm2d="layer_norm2d", layer_norm1d="layer_norm1d", batch_norm="batch_norm"),
        why="The original's batch_norm never updates its statistics; ours does.",
    ),
    "BSZ.TR_BATCH_SZ": keys.to("train.batch_size", int),
    "BSZ.TR_N_ANCHOR": keys.into(_anchors),
    "BSZ.VAL_BATCH_SZ": keys.ignored("Validation searches all of its clips, in batches of its own."),
    "BSZ.VAL_N_ANCHOR": keys.ignored("Validation searches all of its clips, in batches of its own."),
    "BSZ.TS_BATCH_SZ": keys.ignored(_EVALUATION),
    "TRAIN.MAX_EPOCH": keys.to("train.epochs", int),
    "TRAIN.OPTIMIZER": keys.into(_optimizer),
    "TRAIN.LR": keys.to("optimizer.learning_rate", float),
    "TRAIN.LR_SCHEDULE": keys.into(_schedule, why="In the original, cos-restart ends in a TypeError."),
    "TRAIN.CHECKPOINT_KEEP_N_HOUR": keys.ignored("config.checkpoint.keep_every_steps keeps some for ever."),
    "TRAIN.TENSORBOARD": keys.ignored("A run always writes TensorBoard's scalars."),
    "TRAIN.SAVE_IMG": keys.ignored("Every validation writes its similarity matrix."),
    "TRAIN.MINI_TEST_IN_TRAIN": keys.to("validate.every_epochs", int),
    "LOSS.LOSS_MODE": keys.into(_loss),
    "LOSS.TAU": keys.to("loss.temperature", float),
    "LOSS.MARGIN": keys.to("loss.margin", float),
    "TD_AUG.TR_SNR": keys.into(_ratios),
    "TD_AUG.TR_BG_AUG": keys.to("augment.noise.probability", float),
    "TD_AUG.TR_SPEECH_AUG": keys.to("augment.speech.probability", float),
    "TD_AUG.TR_IR_AUG": keys.into(_responses),
    **{f"TD_AUG.VAL_{name}": keys.ignored(_ONE_DEGRADATION) for name in ("SNR", "BG_AUG", "SPEECH_AUG", "IR_AUG")},
    **{f"TD_AUG.TS_{name}": keys.ignored(_EVALUATION) for name in ("SNR", "BG_AUG", "SPEECH_AUG", "IR_AUG")},
    "SPEC_AUG.SPECAUG_CHAIN": keys.into(_masks),
    "SPEC_AUG.SPECAUG_PROBS": keys.into(lambda *_: {}, why="It is read with SPECAUG_CHAIN."),
    "SPEC_AUG.SPECAUG_N_HOLES": keys.only((1,), "nafp cuts one hole of each kind"),
    "SPEC_AUG.SPECAUG_HOLE_FILL": keys.into(_fill, why="The original's min fills the mean."),
    "DEVICE.CPU_N_WORKERS": keys.to("data.read_threads", int),
    "DEVICE.CPU_MAX_QUEUE": keys.to("data.prefetch", int),
}
