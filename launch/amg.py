"""Makes one vector of up to 30 s of fingerprints: the second stage of AMG-Embedding. Flags begin with their verbs.

nafp amg clips --source=CORPUS --out=CLIPS          renders clips, clean and degraded, and fingerprints them; resumes
nafp amg split CLIPS --seconds=5 --out=CHUNKS       cuts files of fingerprints into chunks
nafp amg train --config=configs/amg.py --workdir=RUN --config.data.clips=CLIPS            trains; resumes
nafp amg evaluate --checkpoint=RUN@best --db=DB --query=QUERY --dummy=DUMMY --out=RESULTS
"""

from absl import flags
from ml_collections import config_flags

from . import devices, exits, rooms, words

_SETTINGS = (
    (flags.DEFINE_string, "source", "clips: recordings to cut from: a CORPUS, a manifest or a folder of audio."),
    (flags.DEFINE_string, "noise", "clips: noise and responses: a CORPUS, a manifest or a folder; the source."),
    (flags.DEFINE_string, "split", "clips: the split of recordings, noise and responses; train."),
    (flags.DEFINE_string, "noise_split", "clips: the split of noise and responses alone; that of recordings."),
    (flags.DEFINE_list, "conditions", "clips: such as n5, room, n0~10.room.mic; four with noise, rooms, microphones."),
    (flags.DEFINE_integer, "count", "clips: the number of clips; all.", 1),
    (flags.DEFINE_integer, "per_track", "clips: the most clips of one recording; all.", 1),
    (flags.DEFINE_integer, "versions", "clips: the versions of a clip, the clean one counted; 10.", 1),
    (flags.DEFINE_float, "seconds", "clips: of a clip; 30. split: of a chunk; 5. evaluate: of chunks for a .pth; 10."),
    (flags.DEFINE_string, "checkpoint", "clips: what fingerprints; small. evaluate: RUN, RUN@best, or AMG's .pth."),
    (flags.DEFINE_integer, "seed", "clips: the seed of all that is drawn; 0.", 0),
    (flags.DEFINE_integer, "jobs", "clips: threads that render; one per processor.", 0),
    (flags.DEFINE_string, "workdir", "train: the folder of the run. A run that is there is resumed."),
    (flags.DEFINE_integer, "resume_from", "train: the step to go back to; the latest."),
    (flags.DEFINE_string, "db", "evaluate: the recordings asked for: a folder of .npy files, or STORE/NAME."),
    (flags.DEFINE_string, "query", "evaluate: the degraded recordings, of the same names or in the same order."),
    (flags.DEFINE_string, "dummy", "evaluate: more recordings to search among; none."),
    (flags.DEFINE_list, "lengths", "evaluate: lengths of the queries, seconds; 5,10,15,30."),
    (flags.DEFINE_string, "starts", "evaluate: queries of each recording and length, or AMG's test ids (.pkl); 5."),
    (flags.DEFINE_list, "methods", "evaluate: first, single, two, for the first stage alone and ours; all."),
    (flags.DEFINE_string, "out", "clips, split: the folder to write. evaluate: a folder for the results; none."),
)
for _define, _name, *_rest in _SETTINGS:
    _define(_name, None, *_rest)
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "train: configuration, such as configs/amg.py; --config.section.name=value changes it.",
    lock_config=True,
)


def main(argv: list[str]) -> int:
    from nafp.verbs import amg

    settings = words.given(name for _, name, *_ in _SETTINGS)
    if flags.FLAGS["config"].present:
        settings["config"] = _CONFIG.value
    render = rooms.load("evaluation.queries.pairs").clips_from
    return amg.run(argv[1] if argv[1:] else "", argv[2:], settings, render=render, prepare=devices.prepare)


if __name__ == "__main__":
    exits.run(main)
