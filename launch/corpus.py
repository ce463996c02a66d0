"""Lists, filters, splits, converts and packs audio for training and extraction.

nafp corpus scan DIR... --out=tracks.csv           lists audio, or --dataset=fma_small
nafp corpus dedup tracks.csv --out=twice.csv       finds recordings that are there twice
nafp corpus split --manifest=tracks.csv --sizes=train=80%,test=20% --by=folder --out=split.csv
nafp corpus convert train.pkl --out=train.csv      from and to lists of other systems
nafp corpus build --manifest=split.csv --out=DIR   decodes all into one folder; resumes
"""

from absl import flags

from . import devices, exits

_SETTINGS = (
    (flags.DEFINE_string, "out", "What to write: a manifest, a list, a table; build: a folder."),
    (flags.DEFINE_string, "manifest", "The CSV of tracks; convert: of the files that ids count."),
    (flags.DEFINE_string, "kind", "music, noise, speech, room, microphone; filter, split: several"),
    (flags.DEFINE_string, "split", "scan, convert: train, val, test or dummy, for all files."),
    (flags.DEFINE_string, "only", "filter, convert: keep these kinds, these splits."),
    (flags.DEFINE_float, "val_share", "scan: part of the music without split that is val."),
    (flags.DEFINE_float, "test_share", "scan: part of the music without split that is test."),
    (flags.DEFINE_string, "dataset", "scan: a public dataset; `nafp corpus datasets` names them."),
    (flags.DEFINE_string, "metadata", "scan: folder of the dataset's tables, if not with it."),
    (flags.DEFINE_list, "labels", "scan: AudioSet labels; -LABEL leaves out."),
    (flags.DEFINE_string, "wanted", "scan: writes AudioSet's table of the chosen clips here."),
    (flags.DEFINE_string, "converted", "scan: folder for responses that become WAV; OUT_wav."),
    (flags.DEFINE_bool, "verify", "scan: compare with the dataset's checksums."),
    (flags.DEFINE_float, "shortest_s", "filter: shortest track, seconds."),
    (flags.DEFINE_float, "longest_s", "filter: longest track, seconds."),
    (flags.DEFINE_string, "without", "filter: leave out the duplicates of this table."),
    (flags.DEFINE_string, "sizes", "split: train=80%,test=20%; train=10000,dummy=rest; test=2h."),
    (flags.DEFINE_string, "by", "split: group, folder, artist (folder above), top or a column."),
    (flags.DEFINE_string, "together", "split: keep the duplicates of this table together."),
    (flags.DEFINE_integer, "seed", "split: another draw."),
    (flags.DEFINE_bool, "again", "split: forget the splits that tracks have."),
    (flags.DEFINE_string, "form", "convert: pfann, for a .csv as pfann has it."),
    (flags.DEFINE_string, "root", "convert: folder that a foreign list's paths start from."),
    (flags.DEFINE_string, "store", "dedup: STORE that is there, or is made of the source."),
    (flags.DEFINE_string, "name", "dedup: name within the store; db."),
    (flags.DEFINE_string, "checkpoint", "dedup: network for audio; the shipped one."),
    (flags.DEFINE_float, "score", "dedup: mean cosine of a matching stretch; 0.75."),
    (flags.DEFINE_float, "seconds", "dedup: shortest such stretch; 5."),
    (flags.DEFINE_integer, "sample_rate_hz", "build: the model's sample rate; 8000."),
    (flags.DEFINE_integer, "jobs", "Threads of scan and filter, processes of build; all."),
)
for _define, _name, _text in _SETTINGS:
    _define(_name, None, _text)


def main(argv: list[str]) -> int:
    from nafp.verbs import corpus

    if argv[1:2] == ["dedup"] and argv[2:]:  # Of audio: the network runs.
        devices.prepare()
    given = {name: flags.FLAGS[name].value for _, name, _ in _SETTINGS if flags.FLAGS[name].present}
    return corpus.run(argv[1] if argv[1:] else "", argv[2:], given)


if __name__ == "__main__":
    exits.run(main)
