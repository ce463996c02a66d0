"""`nafp export`: writes a trained network into one file or folder, ours or one of another system."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nafp import errors
from nafp.jobs import outputs

if TYPE_CHECKING:
    from nafp.weights import files, trained

FORMATS = ("npz", "safetensors", "onnx", "stablehlo", "folder")
_BY_SUFFIX = {".safetensors": "safetensors", ".onnx": "onnx", ".stablehlo": "stablehlo"}
_SHIPPED_LICENCE = "Apache-2.0"


class Card(NamedTuple):
    """What the card of a model folder is written from, beside the network.

    results: RESULTS of `nafp evaluate`, whose confidence.json comes along. data: a list of the recordings it was
    trained with, as of `nafp corpus scan`. licence: of the parameters.
    """

    results: str | None = None
    data: str | None = None
    licence: str | None = None


def run(
    out: str | os.PathLike,
    *,
    checkpoint: str | None = None,
    average: Sequence[str] | None = None,
    foreign: str | None = None,
    settings_file: str | None = None,
    front_end: str | None = None,
    format: str | None = None,
    dtype: str | None = None,
    results: str | None = None,
    data: str | None = None,
    licence: str | None = None,
    calibrate: str | None = None,
) -> None:
    """Writes the network into `out` and prints what was written.

    checkpoint: a trained network of ours, as `nafp.load` takes it. average: others, whose parameters are averaged with
    it, see `nafp.weights.averaging`. foreign: one of another system, in its place.
    settings_file, front_end: of a foreign one, see `nafp.weights.imports.read`. format: one of FORMATS, None for what
    the name ends with. dtype: of the parameters, None for float32, or in ONNX float16 if that loses nothing. results,
    data, licence: for the card of a model folder, see `Card`. calibrate: recordings that set the ranges of int8, a list
    or a folder. Raises errors.Invalid unless exactly one network is named.
    """
    out, card = pathlib.Path(out), Card(results, data, licence)
    format = format or _BY_SUFFIX.get(out.suffix, "npz")
    if bool(checkpoint) == bool(foreign):
        raise errors.Invalid(
            "name one network: --checkpoint=RUN for one of ours, --from=FILE for one of another system"
        )
    if average and not checkpoint:
        raise errors.Invalid("--average goes with --checkpoint=RUN, and takes networks of ours")
    if checkpoint and (settings_file or front_end):
        raise errors.Invalid(
            "--from_config and --from_front_end say how to read a network of another system: --from=FILE"
        )
    if any(card) and format != "folder":
        raise errors.Invalid("--results, --data and --licence are for the card of a model folder: --format=folder")
    if (dtype == "int8") != bool(calibrate) or (calibrate and format != "onnx"):
        raise errors.Invalid("--dtype=int8 goes with --format=onnx and --calibrate=RECORDINGS, which set its ranges")
    _require_free(out, format, [name for name in (checkpoint, *(average or ()), foreign, settings_file) if name])
    from nafp.weights import averaging, imports, sources

    if checkpoint:
        network = sources.read(checkpoint)
        network = averaging.mean([network, *map(sources.read, average)]) if average else network
    else:
        network = imports.read(str(foreign), settings_file=settings_file, front_end=front_end)
    if format == "stablehlo":
        said = _program(out, network, dtype or "float32")
    elif format == "folder":
        said = _folder(out, network, dtype or "float32", card, "" if average else checkpoint or "")
    else:
        said = _file(out, network, format, dtype or "", calibrate)
    print(f"{network.source}  →  {out}: {said}")


def _require_free(out: pathlib.Path, format: str, inputs: list[str]) -> None:
    """Raises errors.Error if writing `out` would lose something."""
    if format == "folder":
        from nafp.weights import model_folders

        model_folders.require_free(out)
        return
    outputs.require(out, verb="nafp export", is_former=_is_network, inputs=inputs)


def _program(out: pathlib.Path, network: trained.Trained, dtype: str) -> str:
    """Writes StableHLO and returns in words what was written, as do the next two."""
    from nafp.weights import stablehlo_files

    if dtype != "float32":
        raise errors.Invalid(f"--dtype={dtype}: a StableHLO file holds float32")
    n_bytes = stablehlo_files.write(out, network)
    return f"StableHLO for {', '.join(stablehlo_files.PLATFORMS)}, {n_bytes:,} bytes"


def _folder(out: pathlib.Path, network: trained.Trained, dtype: str, card: Card, checkpoint: str) -> str:
    from nafp.weights import model_folders

    facts, calibration = _facts(out, card, checkpoint)
    return _said(model_folders.write(out, network, facts=facts, calibration=calibration, dtype=dtype), dtype)


def _file(out: pathlib.Path, network: trained.Trained, format: str, dtype: str, calibrate: str | None) -> str:
    from nafp.audio import segments
    from nafp.weights import files, real_segments

    variables, config, step, name = network
    waveforms, held = None, dtype or "float32"
    if calibrate:
        rate = config.audio.sample_rate_hz
        segment = segments.to_samples(config.audio.segment_s, rate)
        waveforms = real_segments.of(calibrate, sample_rate_hz=rate, segment=segment)
    if format == "onnx" and dtype in ("", "int8"):  # Where that loses nothing.
        held = "float16" if files.fits_float16(variables) else "float32"
    written = files.write(
        out, variables, config, step=step, source=name, dtype=held, format=format, waveforms=waveforms
    )
    return _said(written, dtype or held)


def _said(written: files.Written, dtype: str) -> str:
    return f"{written.n_parameters:,} parameters as {dtype}, {written.n_bytes:,} bytes, sha256 {written.sha256[:12]}"


def _facts(out: pathlib.Path, card: Card, checkpoint: str) -> tuple[Any, pathlib.Path | None]:
    """Returns what the card is written from, and the file of the calibration, if any."""
    from nafp.corpora import lists
    from nafp.weights import model_cards, model_folders, sources

    beside = sources.weights_file(checkpoint) if checkpoint else pathlib.Path()
    text = beside.with_suffix(".md") if beside.suffix in sources.EXPORTED else pathlib.Path()
    results = outputs.results_file(card.results) if card.results else None
    calibrations = [results.with_name("confidence.json")] if results else []
    calibrations.append(model_folders.calibration_file(beside))
    facts = model_cards.Facts(
        name=out.resolve().name,
        licence=card.licence or (_SHIPPED_LICENCE if checkpoint in sources.shipped() else ""),
        results=_results(results) if results else None,
        data=lists.read(card.data) if card.data else (),
        text=model_cards.portable(text.read_text(encoding="utf-8")) if text.is_file() else "",
    )
    return facts, next((path for path in calibrations if path.is_file()), None)


def _results(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise errors.Invalid(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict) or "hit_rates" not in tree:
        raise errors.Invalid(f"{path}: has no hit_rates; give the results.json of nafp evaluate")
    return tree


def _is_network(head: bytes) -> bool:
    """Returns whether the first bytes of a file are those of an exported network, in any format."""
    return any(mark in head for mark in (b"nafp network", b"params/", b"\x08\x08\x12\x04nafp", b"StableHLO"))
