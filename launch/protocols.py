"""Runs protocols for `nafp evaluate --protocol`."""

from absl import flags

from . import fingerprinting, rooms

_PROTOCOL = flags.DEFINE_string(
    "protocol", None, "A file (TOML), or robustness, contiguous, snr, open-set, recording..."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "With --protocol: RUN, RUN@STEP, RUN@best, a file, a shipped name."
)
_REFERENCES = flags.DEFINE_string("references", "", "CORPUS, manifest or folder that is asked for.")
_DISTRACTORS = flags.DEFINE_string("distractors", "", "More of the database, likewise.")
_NOISE = flags.DEFINE_string("noise", "", "Noise and responses; those of --references.")
_RECORDING = flags.DEFINE_list("recording", [], "One's own long recordings: low=FILE,high=FILE.")
_PLAN = flags.DEFINE_string("plan", "", "What plays in --recording: songs in order, or a CSV.")
_JOBS = flags.DEFINE_integer("jobs", 0, "Threads that render; 0: one per processor.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Render and fingerprint anew what is in --out.")


def is_given() -> bool:
    return _PROTOCOL.value is not None


def run(settings: dict[str, object]) -> None:
    """Runs the protocol; settings: what `nafp evaluate` was told, where that was said."""
    stages, protocols = rooms.load("evaluation.protocols.stages"), rooms.load("evaluation.protocols.protocol")
    stages.run(
        stages.Run(
            protocol=protocols.load(_PROTOCOL.value),
            out=settings.pop("out"),
            store=",".join(settings.pop("store", None) or []),
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
    )
