"""The README.md of a model folder: YAML that a model hub reads, and what a person should know before using a network.

Everything in it is a fact of the network, of its training data or of an evaluation. The card says which of these facts
are not known.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from nafp import errors
from nafp.corpora import manifest
from nafp.jobs import shown
from nafp.weights import trained

LARGEST = 2**20  # Bytes of a card that is read.
CHECKED = ("parameters_sha256", "sampling_rate", "embedding_dim")  # Keys of the YAML that must agree with the network.
_FENCE = "---\n"
_TAGS = ("audio", "audio-fingerprinting", "music-identification", "jax", "onnx")
_RECIPE = (
    "train.steps",
    "train.batch_size",
    "loss.name",
    "loss.temperature",
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.schedule",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
    "augment.noise.low_db",
    "augment.noise.high_db",
    "augment.room.probability",
    "augment.microphone.probability",
    "augment.speed",
    "seed",
)


class Facts(NamedTuple):
    """What a card is written from, beside the network itself.

    name: the name of the network. licence: the licence of its parameters, "" if nobody stated one. results: the content
    of an evaluation's results.json. data: the tracks that the network was trained with. text: a card that was written
    by hand, in place of the sections that are written here.
    """

    name: str
    licence: str = ""
    results: Mapping[str, Any] | None = None
    data: Sequence[manifest.Track] = ()
    text: str = ""


def text(network: trained.Trained, facts: Facts, described: Mapping[str, Any]) -> str:
    """Returns the card of a network. described: what its config.json says, of which it repeats CHECKED."""
    sections = [facts.text] if facts.text else [*_sections(network, facts)]
    return _front_matter(facts, described) + "\n" + "\n\n".join(section.strip() for section in sections) + "\n"


def front_matter(card: str) -> dict[str, Any]:
    """Reads the YAML of a card, {} if it has none. Raises nafp.errors.Invalid for YAML that cannot be read."""
    if not card.startswith(_FENCE):
        return {}
    try:
        tree = yaml.safe_load(card[len(_FENCE) :].partition("\n" + _FENCE)[0])
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date such as 2020-99-99.
        raise errors.Invalid(f"its YAML cannot be read: {str(error).partition(chr(10))[0]}") from None
    return tree if isinstance(tree, dict) else {}


def _front_matter(facts: Facts, described: Mapping[str, Any]) -> str:
    lines = [
        f"license: {json.dumps(facts.licence.lower() or 'unknown')}",
        "library_name: nafp",
        "pipeline_tag: feature-extraction",
        "tags:",
        *(f"- {tag}" for tag in _TAGS),
        *(f"{name}: {json.dumps(described[name])}" for name in CHECKED),
    ]
    rates = _overall(facts.results)
    if rates:
        lines += [
            "model-index:",
            f"- name: {json.dumps(facts.name)}",
            "  results:",
            "  - task:",
            "      type: audio-fingerprinting",
            "      name: Which recording is a short, noisy clip from",
            "    dataset:",
            "      type: clips",
            f"      name: {json.dumps(_asked(facts.results or {}))}",
            "    metrics:",
        ]
        for length, cell in rates.items():
            lines += [
                "    - type: hit_rate",
                f"      name: right recording first, clips of {length} segments",
                f"      value: {100 * cell['rate']:.1f}",
            ]
    return _FENCE + "\n".join(lines) + "\n" + _FENCE


def _sections(network: trained.Trained, facts: Facts) -> list[str]:
    return [
        f"# {facts.name}",
        "## What it is\n\n" + _description(network),
        "## Data and licences\n\n" + _data(network, facts),
        "## Recipe\n\n" + _recipe(network),
        "## Results\n\n" + _table(facts.results),
        "## Limits\n\n" + _limits(network, facts),
    ]


def _description(network: trained.Trained) -> str:
    audio, spectrogram, model = network.config.audio, network.config.spectrogram, network.config.model
    return (
        f"A neural audio fingerprint: {audio.segment_s:g} s of audio at {audio.sample_rate_hz} Hz in, {model.dim} "
        f"numbers of unit length out, every {audio.hop_s:g} s. Architecture `{model.name}` with channels "
        f"{', '.join(map(str, model.channels))}, norm `{model.norm}`, activation `{model.activation}`. Front end "
        f"`{spectrogram.front_end}`: {spectrogram.n_mels} mel bins from {spectrogram.low_hz:g} to "
        f"{spectrogram.high_hz:g} Hz. Parameters of {network.source}, step {network.step}.\n\n"
        "    pip install 'nafp[cpu]'\n"
        "    nafp add DB music/ --checkpoint=THIS_FOLDER\n"
        "    nafp identify DB clip.wav\n\n"
        'In Python: `nafp.load("THIS_FOLDER")`.'
    )


def _data(network: trained.Trained, facts: Facts) -> str:
    licence = f"The parameters are under {facts.licence}." if facts.licence else "Nobody stated a licence of them."
    if not facts.data:
        return f"Trained with the corpus `{network.config.data.corpus}`, which is not described here. {licence}"
    rows = Counter[tuple[str, str]]()
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for track in facts.data:
        key = (track.kind, dict(track.extra).get("licence") or dict(track.extra).get("license") or "unknown")
        rows[key] += 1
        seconds[key] += track.seconds
    lines = ["| kind | licence | recordings | hours |", "|---|---|---:|---:|"]
    lines += [
        f"| {kind} | {_in_cell(name)} | {rows[kind, name]} | {seconds[kind, name] / 3600:.2f} |"
        for kind, name in sorted(rows)
    ]
    return "\n".join([*lines, "", licence])


def _in_cell(text: str) -> str:
    """Returns a text as one cell of a table."""
    return shown.plain(text).replace("|", "\\|")


def _recipe(network: trained.Trained) -> str:
    flat = dict.fromkeys(_RECIPE, network.config)
    lines = ["| setting | value |", "|---|---|"]
    for name, value in flat.items():
        for part in name.split("."):
            value = value[part]
        lines.append(f"| `{name}` | {value} |")
    return "\n".join([*lines, "", "The whole configuration is in `config.json`."])


def _table(results: Mapping[str, Any] | None) -> str:
    if not _overall(results) or results is None:
        return "Nobody stated results. `nafp export --results=RESULTS` takes those of `nafp evaluate`."
    lengths = list(results["hit_rates"])
    conditions = (results.get("groups") or {}).get("condition") or {}
    rows = {**conditions, "all": results["hit_rates"]}
    lines = [
        f"Right recording first, in %, with 95 % Wilson intervals: {_asked(results)}. Lengths in segments.",
        "",
        "| condition | " + " | ".join(lengths) + " |",
        "|---|" + "---:|" * len(lengths),
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row.get(length, {})) for length in lengths) + " |")
    return "\n".join(lines)


def _limits(network: trained.Trained, facts: Facts) -> str:
    lines = [
        f"- It hears what lies below {network.config.spectrogram.high_hz:g} Hz.",
        "- It finds recordings, not songs: covers and live versions are other recordings.",
        "- It was measured on the conditions above only."
        if facts.results
        else "- Nothing was measured: evaluate it on your own recordings.",
    ]
    return "\n".join(lines)


def _overall(results: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the rates by length that a table has, of the recording if the tracks are known."""
    rates = {}
    for length, metrics in ((results or {}).get("hit_rates") or {}).items():
        if cell := _best(metrics):
            rates[length] = cell
    return rates


def _best(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return next((metrics[name] for name in ("song", "exact") if (metrics.get(name) or {}).get("asked")), {})


def _cell(metrics: Mapping[str, Any]) -> str:
    cell = _best(metrics)
    return f"{100 * cell['rate']:.1f} ({100 * cell['low']:.1f}-{100 * cell['high']:.1f})" if cell else "-"


def _asked(results: Mapping[str, Any]) -> str:
    stores = (results.get("stores") or {}).get("database") or []
    n_tracks = sum(store.get("tracks") or 0 for store in stores)
    n_questions = (results.get("questions") or {}).get("known", 0)
    return f"{n_questions} questions among {n_tracks} recordings"


def portable(card: str) -> str:
    """Returns a text in which links into this repository are replaced by the names of what they led to."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+[^)]*\)", r"\1", card)
