"""The addresses of the page: its files, the network for the browser, and excerpts of the recordings."""

from __future__ import annotations

import functools

from starlette import convertors, requests, responses, routing

from nafp.serving import page_files, parameters
from nafp.serving.refusals import Refusal
from nafp.serving.service import Service

_REVALIDATE, _FOR_EVER = "no-cache", "public, max-age=31536000, immutable"
EXCERPT_S = 30.0


class _Digits(convertors.Convertor[int]):
    """A whole number in an address. Python refuses to read thousands of digits, and no track has so many."""

    regex = "[0-9]{1,40}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


convertors.register_url_convertor("digits", _Digits())


def routes() -> list[routing.Route]:
    """Returns the routes of the page."""
    return [
        routing.Route("/", show_page, methods=["GET"]),
        routing.Route("/page/{name:path}", send_file, methods=["GET"]),
        routing.Route("/v1/networks/{digest}.onnx", send_network, methods=["GET"]),
        routing.Route("/v1/tracks/{number:digits}/audio", send_excerpt, methods=["GET"]),
    ]


async def show_page(request: requests.Request) -> responses.Response:
    return _file(request, page_files.INDEX)


async def send_file(request: requests.Request) -> responses.Response:
    return _file(request, request.path_params["name"])


async def send_network(request: requests.Request) -> responses.Response:
    network = request.app.state.service.browser_network
    if network is None or request.path_params["digest"] != network.digest:
        raise Refusal(404, "no such network; /v1/health names that of the database")
    headers = {"Cache-Control": _FOR_EVER, "ETag": f'"{network.digest}"'}
    return responses.Response(network.data, headers=headers, media_type="application/octet-stream")


async def send_excerpt(request: requests.Request) -> responses.Response:
    """Sends a part of a recording as a WAV file. The track's number is all that a request says of the file."""
    service: Service = request.app.state.service
    if not service.settings.play:
        raise Refusal(403, "this server plays no recordings: it was started without --play")
    start_s = parameters.number(request.query_params, "start_s", 0.0, low=0.0, high=1e6)
    seconds = parameters.number(request.query_params, "seconds", EXCERPT_S, low=1.0, high=EXCERPT_S)
    cut = functools.partial(service.excerpt, request.path_params["number"], start_s, seconds)
    with service.desk.admitted(service.clients.of(request.client)):
        data = await service.desk.do(cut, gone=parameters.gone(request.receive))
    return responses.Response(data, media_type="audio/wav")


def _file(request: requests.Request, name: str) -> responses.Response:
    file = page_files.files().get(name)
    if file is None:
        raise Refusal(404, "the page has no such file")
    headers = {
        "Content-Security-Policy": page_files.POLICY,
        "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
        "Cache-Control": _REVALIDATE,
        "ETag": f'"{file.tag}"',
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return responses.Response(status_code=304, headers=headers)
    return responses.Response(file.data, headers=headers, media_type=file.media_type)
