"""Answers over HTTP: identifies clips, monitors streams, lists, adds and removes tracks.

nafp serve DB
curl --data-binary @cafe.wav http://127.0.0.1:8765/v1/identify
nafp serve DB --workers=4 --token_file=TOKEN
nafp serve DB --host=0.0.0.0 --hosts=music.example      behind a proxy that does TLS

GET /v1/openapi.json describes the addresses. SIGTERM and Ctrl-C let the requests at work finish. Without a token,
from --token_file or the environment variable NAFP_TOKEN, nothing can be added or removed.
"""

from typing import Any

from absl import flags

from . import devices, exits

_SETTINGS: tuple[tuple[Any, ...], ...] = (
    (flags.DEFINE_string, "host", "127.0.0.1", "Address to listen at. 0.0.0.0: all of this machine."),
    (flags.DEFINE_integer, "port", 8765, "Port to listen at. 0: any that is free.", 0, 65535),
    (flags.DEFINE_list, "hosts", [], "Names for requests, beside the loopback's. Default: these, or any with --host."),
    (flags.DEFINE_integer, "workers", 1, "Processes. They share the fingerprints in memory.", 1, 256),
    (flags.DEFINE_enum, "runtime", "auto", ["auto", "jax", "numpy", "onnx"], "What computes. auto: JAX if there."),
    (flags.DEFINE_bool, "play", False, "Let everybody hear excerpts of the recordings, from their files."),
    (flags.DEFINE_integer, "jobs", 0, "Clips at once in each process. 0: one for each core.", 0, 1024),
    (flags.DEFINE_integer, "waiting", 64, "Requests that may wait in each process; others get 503.", 0, 100_000),
    (flags.DEFINE_float, "waiting_megabytes", 256.0, "All clips in each process, in MB; others get 503.", 0.001),
    (flags.DEFINE_float, "megabytes", 16.0, "Largest clip, in MB.", 0.001, 1024),
    (flags.DEFINE_float, "clip_s", 60.0, "Seconds to listen to of each clip.", 1.0, 60.0),
    (flags.DEFINE_float, "sending_s", 30.0, "Seconds that a request may take to arrive.", 0.1),
    (flags.DEFINE_float, "decoding_s", 10.0, "Seconds to decode a clip; then its decoder is killed.", 0.1),
    (flags.DEFINE_float, "request_s", 30.0, "Seconds from the end of a request to its answer; then it gets 503.", 0.1),
    (flags.DEFINE_float, "track_megabytes", 256.0, "Largest recording to add, in MB.", 0.001, 4096),
    (flags.DEFINE_float, "track_s", 10_800.0, "Longest recording to add, in seconds.", 1.0),
    (flags.DEFINE_integer, "listeners", 4, "Streams to listen to at once in each process.", 0, 1024),
    (flags.DEFINE_integer, "connections", 512, "Connections at once in each process.", 1, 100_000),
    (flags.DEFINE_float, "client_share", 0.5, "Share of these places that one client may take. 1: all.", 0.0, 1.0),
    (flags.DEFINE_list, "proxies", ["127.0.0.0/8", "::1"], "Addresses and networks whose X-Forwarded-For is believed."),
)
for _define, _name, *_rest in _SETTINGS:
    _define(_name, *_rest)
_TOKEN_FILE = flags.DEFINE_string("token_file", None, "File with the token that adding and removing needs.")


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        raise exits.wrong("name a database: nafp serve DB")
    values: dict[str, Any] = {name: flags.FLAGS[name].value for _, name, *_ in _SETTINGS}
    values |= {name: tuple(values[name]) for name in ("hosts", "proxies")}
    from nafp.serving import settings
    from nafp.verbs import serve

    request = settings.ServeSettings(argv[1], token=settings.token(_TOKEN_FILE.value), **values)
    return serve.run(request, prepare=devices.keep_compiled)


if __name__ == "__main__":
    exits.run(main)
