"""Lists, filters, splits, converts and packs audio. Flags begin with the verbs they are for and end with their default.

nafp corpus scan DIR... --out=tracks.csv           lists audio files, or a public dataset: --dataset=fma_small
nafp corpus dedup tracks.csv --out=twice.csv       finds recordings that are there twice
nafp corpus split --manifest=tracks.csv --sizes=train=80%,test=20% --by=folder --out=split.csv
nafp corpus convert train.pkl --out=train.csv      from and to the lists of other systems
nafp corpus build --manifest=split.csv --out=DIR   decodes all tracks into one folder; resumes
"""

from absl import flags

from . import devices, exits, words

_SETTINGS = (
    (flags.DEFINE_string, "out", "The file to write: a manifest, list or table. build: the folder to write."),
    (flags.DEFINE_string, "manifest", "The CSV of tracks to work on. convert: that of the files that ids count."),
    (flags.DEFINE_string, "kind", "scan, convert: the kind of all files. filter, split: the kinds to work on; music."),
    (flags.DEFINE_string, "split", "scan, convert: the split of all files: train, val, test or dummy."),
    (flags.DEFINE_string, "only", "filter, convert: keep only these kinds and splits, separated by commas."),
    (flags.DEFINE_float, "val_share", "scan: share of the music without a split that becomes val; 0.", 0, 1),
    (flags.DEFINE_float, "test_share", "scan: share of the music without a split that becomes test; 0.", 0, 1),
    (flags.DEFINE_string, "dataset", "scan: the public dataset in the folder; `nafp corpus datasets` lists them."),
    (flags.DEFINE_string, "metadata", "scan: the folder of the dataset's tables, if not beside its audio."),
    (flags.DEFINE_list, "labels", "scan: the AudioSet labels to keep, separated by commas; -LABEL drops one."),
    (flags.DEFINE_string, "wanted", "scan: a file to write AudioSet's table of the chosen clips to."),
    (flags.DEFINE_string, "converted", "scan: the folder for responses that are converted to WAV; OUT_wav."),
    (flags.DEFINE_bool, "verify", "scan: compare the files with the checksums of the dataset; no."),
    (flags.DEFINE_float, "shortest_s", "filter: drop tracks shorter than this, seconds; 0.", 0),
    (flags.DEFINE_float, "longest_s", "filter: drop tracks longer than this, seconds; no limit.", 0),
    (flags.DEFINE_string, "without", "filter: drop the duplicates that this table of dedup names."),
    (flags.DEFINE_string, "sizes", "split: the sizes: train=80%,test=20%; train=10000,dummy=rest; test=2h."),
    (flags.DEFINE_string, "by", "split: keep together what shares this: group, folder, artist, top, or a column."),
    (flags.DEFINE_string, "together", "split: keep together the duplicates that this table of dedup names."),
    (flags.DEFINE_integer, "seed", "split: the seed of the draw; 0."),
    (flags.DEFINE_bool, "again", "split: draw again for tracks that have a split already; no."),
    (flags.DEFINE_string, "form", "convert: write a .csv in the form `pfann`."),
    (flags.DEFINE_string, "root", "convert: the folder that the paths of a foreign list start from."),
    (flags.DEFINE_string, "store", "dedup: the STORE to compare in, made from the source if it is missing; OUT_store."),
    (flags.DEFINE_string, "name", "dedup: the name within the store; db."),
    (flags.DEFINE_string, "checkpoint", "dedup: the network that fingerprints audio; small."),
    (flags.DEFINE_float, "score", "dedup: least mean cosine of a matching stretch; 0.75.", 0, 1),
    (flags.DEFINE_float, "seconds", "dedup: shortest matching stretch, seconds; 5.", 0, 1e6),
    (flags.DEFINE_integer, "sample_rate_hz", "build: the sample rate to decode to, Hz; 8000.", 1000, 1_000_000),
    (flags.DEFINE_integer, "jobs", "Threads of scan and filter, processes of build; one for each processor.", 0),
)
for _define, _name, *_rest in _SETTINGS:
    _define(_name, None, *_rest)


def main(argv: list[str]) -> int:
    from nafp.verbs import corpus

    if argv[1:2] == ["dedup"] and argv[2:]:  # Audio is fingerprinted first: the network runs.
        devices.prepare()
    settings = words.given(name for _, name, *_ in _SETTINGS)
    return corpus.run(argv[1] if argv[1:] else "", argv[2:], settings)


if __name__ == "__main__":
    exits.run(main)
