"""A trained network as a folder, in the manner of model hubs.

    FOLDER/model.safetensors   the network, see `nafp.weights.files`: the truth
    FOLDER/config.json         what it is, for other programs: a copy
    FOLDER/confidence.json     its calibration, if it has one
    FOLDER/README.md           its card, see `nafp.weights.model_cards`

A folder whose config.json or card says something else than model.safetensors is refused.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

import nafp.config
from nafp import errors
from nafp.jobs import plain_files, whole_files
from nafp.models import identities
from nafp.search import confidence
from nafp.weights import files, model_cards, trained

NETWORK, CONFIG, CONFIDENCE, CARD = "model.safetensors", "config.json", "confidence.json", "README.md"
_KIND = "nafp"
_LARGEST_CONFIG = 2**20
_ARCHITECTURES = {"nafp": "Fingerprinter", "audsearch": "AttentionResidual"}


def write(
    folder: str | os.PathLike,
    network: trained.Trained,
    *,
    facts: model_cards.Facts,
    calibration: str | os.PathLike | None = None,
    dtype: str = "float32",
) -> files.Written:
    """Writes a model folder, or the files of a former one anew. The network comes last, so that a folder is whole.

    calibration: a confidence.json, if there is one. Raises nafp.errors.AlreadyExists for a folder that holds other
    things, and nafp.errors.Invalid for results of another network.
    """
    folder = pathlib.Path(folder)
    require_free(folder)
    _require_own(network, facts.results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK).unlink(missing_ok=True)
    if calibration:
        confidence.Confidence.load(calibration).save(folder / CONFIDENCE)
    else:
        (folder / CONFIDENCE).unlink(missing_ok=True)
    variables, config, step, source = network
    part = folder / f"{NETWORK}.part"
    written = files.write(part, variables, config, step=step, source=source, dtype=dtype, format="safetensors")
    described = _described(config, step=step, digest=files.stated(part)["sha256"])
    card = model_cards.text(network, facts, described)
    for name, text in ((CONFIG, json.dumps(described, indent=1) + "\n"), (CARD, card)):
        with whole_files.opened(folder / name, encoding="utf-8") as file:
            file.write(text)
    os.replace(part, folder / NETWORK)
    whole_files.sync_folder(folder)
    return written._replace(n_bytes=sum(path.stat().st_size for path in folder.iterdir()))


def is_one(folder: str | os.PathLike) -> bool:
    """Returns whether a folder holds a network as `write` leaves it."""
    return (pathlib.Path(folder) / NETWORK).is_file()


def require_free(folder: pathlib.Path) -> None:
    """Raises nafp.errors.AlreadyExists if writing a model folder would put files among others."""
    if folder.is_dir():
        ours = {NETWORK, CONFIG, CONFIDENCE, CARD, f"{NETWORK}.part"}
        others = sorted({path.name for path in folder.iterdir()} - ours)
        if not others:
            return
        raise errors.AlreadyExists(f"{folder}: holds {others[0]!r}, which is of no model folder; name a new folder")
    if folder.exists():
        raise errors.AlreadyExists(f"{folder}: is no folder; name a new one")


def network_file(folder: pathlib.Path) -> pathlib.Path:
    """Returns the file of a folder's network. Raises nafp.errors.Invalid if what stands beside it disagrees with it."""
    path = folder / NETWORK
    about = files.stated(path)
    truth = _described(nafp.config.from_json(about["config"]), step=int(about["step"]), digest=about["sha256"])
    for name, read in ((CONFIG, _read_config), (CARD, _read_card)):
        if (folder / name).exists():
            _require_agreement(folder / name, read(folder / name), truth)
    return path


def calibration_file(weights: pathlib.Path) -> pathlib.Path:
    """Returns where the calibration of a network lies, if it has one. weights: the network's file."""
    return weights.with_name(CONFIDENCE) if weights.name == NETWORK else weights.with_suffix(".confidence.json")


def _described(config: ml_collections.ConfigDict, *, step: int, digest: str) -> dict[str, Any]:
    """Returns what config.json holds. digest: the `sha256` that the network's file states."""
    return {
        "model_type": _KIND,
        "architectures": [_ARCHITECTURES[config.model.name]],
        "library_name": "nafp",
        "sampling_rate": config.audio.sample_rate_hz,
        "segment_s": config.audio.segment_s,
        "hop_s": config.audio.hop_s,
        "embedding_dim": config.model.dim,
        "step": step,
        "parameters_sha256": digest,
        "nafp": json.loads(nafp.config.to_json(config)),
    }


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    try:
        tree = json.loads(_text(path, _LARGEST_CONFIG))
        own = nafp.config.from_dict(tree["nafp"]) if "nafp" in tree else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.Invalid(f"{path}: cannot be read: {str(error)[:200]}") from None
    return {**tree, "nafp": json.loads(nafp.config.to_json(own))} if own is not None else tree


def _read_card(path: pathlib.Path) -> dict[str, Any]:
    try:
        card = model_cards.front_matter(_text(path, model_cards.LARGEST))
    except errors.Invalid as error:
        raise errors.Invalid(f"{path}: {error}") from None
    return {key: value for key, value in card.items() if key in model_cards.CHECKED}


def _text(path: pathlib.Path, largest: int) -> str:
    with plain_files.opened(path) as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise errors.Invalid(f"{path}: is larger than {largest} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise errors.Invalid(f"{path}: is not text in UTF-8") from None


def _require_agreement(path: pathlib.Path, stated: Mapping[str, Any], truth: Mapping[str, Any]) -> None:
    """Raises nafp.errors.Invalid if a file states something else about the network than the file of the network."""
    for name, value in stated.items():
        if name in truth and value != truth[name]:
            theirs, ours = _first_difference(value, truth[name])
            raise errors.Invalid(
                f"{path}: says {name} {theirs}, but {NETWORK} beside it {ours}: they are not of one network. Restore "
                f"the folder from a copy, or write it anew: nafp export --checkpoint={path.parent / NETWORK} "
                "--format=folder --out=NEW"
            )


def _first_difference(value: Any, truth: Any) -> tuple[str, str]:
    """Returns two values that differ, those of their first different key if they are mappings."""
    while isinstance(value, Mapping) and isinstance(truth, Mapping):
        key = next(key for key in (*value, *truth) if value.get(key) != truth.get(key))
        value, truth = value.get(key), truth.get(key)
    return repr(value)[:80], repr(truth)[:80]


def _require_own(network: trained.Trained, results: Mapping[str, Any] | None) -> None:
    """Raises nafp.errors.Invalid for results that another network gave."""
    identity = identities.of(network.variables, source=network.source, step=network.step, config=network.config)
    for store in ((results or {}).get("stores") or {}).get("database") or []:
        if isinstance(store.get("model"), Mapping) and not identities.same_network(store["model"], identity):
            raise errors.Invalid(
                f"--results: are of {store['model'].get('source')}, not of {network.source}: evaluate this network"
            )
