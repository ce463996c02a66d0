"""Trains a network on a corpus; run again, it resumes.

nafp train --config=configs/default.py --workdir=RUN --config.data.corpus=CORPUS --config.train.batch_size=640
"""

from absl import flags
from ml_collections import config_flags

from nafp import config as config_lib

from . import devices, exits

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file; --config.section.name=value overrides.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, log, scores.")
_RESUME_FROM = flags.DEFINE_integer(
    "resume_from", None, "Go back to the checkpoint of this step; later ones are set aside."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise exits.wrong(f"unexpected arguments {argv[1:]}; settings look like --config.train.batch_size=640")
    config = config_lib.validated(_CONFIG.value)
    devices.prepare(cpu_shares=config_lib.cpu_shares(config, cores=devices.cores()))
    from nafp.training import loop

    loop.train(config, _WORKDIR.value, resume_from=_RESUME_FROM.value)


if __name__ == "__main__":
    exits.run(main, devices)
