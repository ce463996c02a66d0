"""Says which track of a store each clip comes from, and where in it.

nafp identify --checkpoint=RUN@best --store=STORE --name=db clip.wav ...
"""

import sys

from absl import app, flags

from . import devices

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "The network that wrote the store: RUN, RUN@best, file.npz."
)
_STORE = flags.DEFINE_string("store", None, "STORE folder.")
_NAME = flags.DEFINE_list("name", ["db"], "Names within the store to search in, comma between.")
_TOP = flags.DEFINE_integer("top", 1, "Tracks to name for each clip, best first.")
_SHIFTS = flags.DEFINE_integer(
    "shifts", 2, "Query fingerprints for each one of the store.", lower_bound=1
)
_FORMAT = flags.DEFINE_enum(
    "format", "text", ["text", "json"], "json: one object for each clip and line."
)
flags.mark_flags_as_required(["checkpoint", "store"])


def main(argv: list[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("name the clips to identify")
    devices.prepare()
    from nafp import identify, trained
    from nafp.audio import decode

    network, identity = trained.open_extractor(_CHECKPOINT.value, batch_size=32)
    identifier = identify.Identifier.open(
        network, identity, _STORE.value, names=_NAME.value, shifts=_SHIFTS.value
    )
    failed = 0
    for path in argv[1:]:
        try:
            samples = decode.load(path, sample_rate_hz=network.sample_rate_hz)
            answers = identifier.identify(
                samples, sample_rate_hz=network.sample_rate_hz, top=_TOP.value
            )
        except (decode.Undecodable, ValueError) as error:
            failed += 1
            print(f"{path}: {error}", file=sys.stderr)
            continue
        said = identify.as_json if _FORMAT.value == "json" else identify.as_text
        print(said(path, len(samples) / network.sample_rate_hz, answers), flush=True)
    sys.exit(2 if failed else 0)


if __name__ == "__main__":
    app.run(main)
