"""Trains a network on a corpus. The same command again resumes the run.

nafp train --config=configs/default.py --workdir=RUN --config.data.corpus=CORPUS --config.train.batch_size=640
"""

from absl import flags
from ml_collections import config_flags

import nafp.config

from . import devices, exits, processes, words

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Configuration file, such as configs/small.py, or one of pfann (JSON), the original (YAML) or the benchmark (JSON, "
    "YAML). --config.section.name=value overrides one of its settings.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run: checkpoints, log and scores. A run that is there is resumed.", required=True
)
_RESUME_FROM = flags.DEFINE_integer(
    "resume_from",
    None,
    "Step to go back to. Its checkpoint must exist; later ones are moved to WORKDIR/set_aside. Default: the latest.",
    0,
)
flags.mark_flag_as_required("config")


def main(argv: list[str]) -> None:
    words.require_none(argv, "settings look like --config.train.batch_size=640")
    alone = "is for several processes: name --coordinator=HOST:PORT of process 0, too"
    words.only_with(["processes", "process"], processes.are_several(), alone)
    config = nafp.config.validated(_CONFIG.value)
    devices.prepare(cpu_shares=nafp.config.cpu_shares(config, cores=devices.cores()))
    from nafp.training import loop

    loop.train(config, _WORKDIR.value, resume_from=_RESUME_FROM.value)


if __name__ == "__main__":
    exits.run(main, devices)
