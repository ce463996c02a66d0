"""Writes the page of `nafp queries listen`: of conditions, or of a training configuration."""

from absl import flags
from ml_collections import config_flags

from . import devices, rooms

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration of a training; listen writes what it would hear.", lock_config=True
)


def of_training(out: str, *, count: int, seconds: float) -> None:
    """Writes the page for --config."""
    from nafp import config as config_lib

    config = config_lib.validated(_CONFIG.value)
    devices.prepare()
    from nafp.training import listening as training

    page = rooms.load("evaluation.queries.page")
    drawn = training.examples(config, count=count, seconds=seconds)
    audio = config.audio
    clips = page.from_training(drawn, sample_rate_hz=audio.sample_rate_hz, segment_s=audio.segment_s)
    where = config.data.pairs or config.data.corpus
    title = f"Training on {where}: {flags.FLAGS['config'].config_filename}"
    page.write(out, clips, title=title, about=page.settings_text(config.augment.to_dict()))


def is_given() -> bool:
    return _CONFIG.value is not None
