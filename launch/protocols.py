"""Runs protocols for `nafp evaluate --protocol`."""

from typing import Any

from absl import flags

from . import fingerprinting, rooms

_PROTOCOL = flags.DEFINE_string(
    "protocol",
    None,
    "Protocol to run: a TOML file, or the name of a shipped one, such as robustness. Default: score --store as it is.",
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "Network to fingerprint with for --protocol: small, RUN, RUN@STEP, RUN@best, or an exported file.",
)
_REFERENCES = flags.DEFINE_string(
    "references", "", "Recordings that --protocol asks for: a CORPUS, a manifest or a folder."
)
_DISTRACTORS = flags.DEFINE_string(
    "distractors", "", "More recordings for the database: a CORPUS, a manifest or a folder. Default: the protocol's."
)
_NOISE = flags.DEFINE_string(
    "noise", "", "Noise and responses: a CORPUS, a manifest or a folder. Default: --references."
)
_RECORDING = flags.DEFINE_list(
    "recording", [], "Long recordings of your own for the protocol `recording`: low=FILE,high=FILE. Default: made here."
)
_PLAN = flags.DEFINE_string(
    "plan", "", "What plays in --recording: a list of the songs in order, or a CSV with their times."
)
_JOBS = flags.DEFINE_integer("jobs", 0, "Number of threads that render queries. 0: one for each processor.", 0)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Render and fingerprint again what is already in --out.")


def is_given() -> bool:
    """Returns whether the command line names a protocol."""
    return _PROTOCOL.value is not None


def run(settings: dict[str, Any]) -> None:
    """Runs the protocol. settings: the flags of `nafp evaluate` that the command line gives, by name."""
    stages = rooms.load("evaluation.protocols.stages")
    job = stages.Run(
        protocol=rooms.load("evaluation.protocols.protocol").load(_PROTOCOL.value),
        out=settings.pop("out"),
        store=",".join(settings.pop("store", [])),
        extract=fingerprinting.Fingerprinting(_CHECKPOINT.value),
        references=_REFERENCES.value,
        distractors=_DISTRACTORS.value,
        noise=_NOISE.value,
        recording=_RECORDING.value,
        plan=_PLAN.value,
        jobs=_JOBS.value,
        overwrite=_OVERWRITE.value,
        settings=settings,
    )
    stages.run(job)
