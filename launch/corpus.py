"""Finds audio and packs it for training and extraction.

nafp corpus scan DIR... --out=tracks.csv                 lists the audio files below these folders
nafp corpus build --manifest=tracks.csv --out=CORPUS     decodes them into one folder; resumes
"""

from absl import app, flags

_OUT = flags.DEFINE_string("out", None, "Where to write: the manifest, or the corpus folder.")
_MANIFEST = flags.DEFINE_string("manifest", None, "build: the CSV of tracks, as scan writes it.")
_RATE = flags.DEFINE_integer("sample_rate_hz", 8000, "build: the model's sample rate.")
_KIND = flags.DEFINE_string("kind", "", "scan: music, noise, speech, room or microphone, for all.")
_SPLIT = flags.DEFINE_string("split", "", "scan: train, val, test or dummy, for all files.")
_VAL = flags.DEFINE_float("val_share", 0.0, "scan: part of the music without split that is val.")
_TEST = flags.DEFINE_float("test_share", 0.0, "scan: part of the music without split that is test.")
_JOBS = flags.DEFINE_integer("jobs", None, "Threads of scan, processes of build; all by default.")


def _scan(folders: list[str]) -> None:
    from nafp.audio import decode, manifest

    with decode.hushed():
        tracks, failures = manifest.scan(
            folders, kind=_KIND.value, split=_SPLIT.value, jobs=_JOBS.value or 0, show=True
        )
    if _VAL.value or _TEST.value:
        tracks = manifest.assign_splits(tracks, val=_VAL.value, test=_TEST.value)
    manifest.write(_OUT.value, tracks)
    print(manifest.report(failures, "skipped"), end="")
    print(f"{_OUT.value}: {manifest.summary((t.kind, t.split, t.seconds) for t in tracks)}")


def _build() -> None:
    from nafp.audio import corpus, manifest

    tracks = manifest.read(_MANIFEST.value)
    built = corpus.build(
        tracks, _OUT.value, sample_rate_hz=_RATE.value, jobs=_JOBS.value, progress=True
    )
    print(manifest.report(built.damaged, "damaged, the rest kept"), end="")
    print(manifest.report(built.failures, "skipped"), end="")
    print(f"{_OUT.value}: {built.summary()}")


def main(argv: list[str]) -> None:
    verb, folders = "".join(argv[1:2]), argv[2:]
    if verb == "scan" and folders and _OUT.value:
        _scan(folders)
    elif verb == "build" and not folders and _MANIFEST.value and _OUT.value:
        _build()
    else:
        raise app.UsageError("scan DIR... --out=FILE.csv, or build --manifest=FILE.csv --out=DIR")


if __name__ == "__main__":
    app.run(main)
