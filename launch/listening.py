"""The page of `nafp queries listen` for a training configuration."""

import pathlib

from absl import flags
from ml_collections import config_flags

from . import devices, foreign, rooms

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "listen: configuration of a training. The page plays what that training hears.", lock_config=True
)


def of_training(out: str, *, count: int, seconds: float) -> None:
    """Writes the page for --config into the folder `out`: `count` pairs, each `seconds` long."""
    import nafp.config

    page = rooms.load("evaluation.queries.page")
    page.require_out(out)
    config = nafp.config.validated(_CONFIG.value)
    devices.prepare()
    from nafp.training import listening

    pairs = listening.examples(config, count=count, seconds=seconds)
    audio = config.audio
    clips = page.from_training(pairs, sample_rate_hz=audio.sample_rate_hz, segment_s=audio.segment_s)
    corpus = pathlib.Path(config.data.pairs or config.data.corpus)
    name = pathlib.Path(foreign.shown(config_flags.get_config_filename(flags.FLAGS["config"]))).name
    about = f"Training pairs of {name}, from {corpus.name}."
    settings = page.settings_tables(config.augment.to_dict(), name="config.augment")
    page.write(out, clips, title="What training hears", about=about, settings=settings)


def is_given() -> bool:
    """Returns whether the command line names a configuration."""
    return _CONFIG.value is not None
