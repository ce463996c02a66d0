"""The addresses of the server. Each endpoint is a few lines here. The other files of this room do the work."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette import applications, exceptions, requests, responses, routing, websockets

from nafp import errors
from nafp.database import catalogue
from nafp.identify import answers, asking
from nafp.serving import acrcloud, bodies, description, guard, listening, metrics, page_routes, parameters, questions
from nafp.serving.refusals import ClientGone, Refusal
from nafp.serving.service import Service
from nafp.serving.settings import ServeSettings

_MOST_TRACKS = 500  # On one page.
_MOST_TEXT = 200  # Characters to look for.
_MOST_VALUE = 1000  # Characters of metadata.
_METADATA = ("title", "artist", "album", "albumartist", "composer", "genre", "year")
_DEFECT = "a defect of the server; its log has the reason"
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_POLICY, _TRY_LATER, _UNSUPPORTED = 1008, 1013, 1003  # Codes that close a WebSocket: RFC 6455 and its registry.


def create(settings: ServeSettings, open_service: Callable[[ServeSettings], Service]) -> guard.Guard:
    """Returns the application. It opens the service when the server starts, before it listens."""

    @contextlib.asynccontextmanager
    async def lifespan(app: applications.Starlette) -> AsyncIterator[None]:
        service = app.state.service = await asyncio.to_thread(open_service, settings)
        following = asyncio.create_task(service.follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.to_thread(service.close)

    app = applications.Starlette(
        routes=[
            routing.Route("/v1/identify", identify, methods=["POST"]),
            routing.Route("/v1/tracks", list_tracks, methods=["GET"]),
            routing.Route("/v1/tracks", add_track, methods=["POST"]),
            routing.Route("/v1/tracks/{number:digits}", show_track, methods=["GET"]),
            routing.Route("/v1/tracks/{number:digits}", remove_track, methods=["DELETE"]),
            routing.Route("/v1/health", health, methods=["GET"]),
            routing.Route("/v1/openapi.json", describe, methods=["GET"]),
            routing.Route("/metrics", measure, methods=["GET"]),
            routing.WebSocketRoute("/v1/listen", listen),
            *page_routes.routes(),
        ],
        lifespan=lifespan,
        exception_handlers={
            exceptions.HTTPException: _unknown_address,
            Refusal: _refused,
            ClientGone: _unread,
            Exception: _defect,  # The guard writes it to the log.
        },
    )

    def find_metrics() -> metrics.Metrics | None:
        return app.state.service.metrics if hasattr(app.state, "service") else None

    return guard.Guard(app, hosts=settings.known_hosts, head_bytes=settings.header_bytes, find_metrics=find_metrics)


async def identify(request: requests.Request) -> responses.Response:
    service: Service = request.app.state.service
    client = service.clients.of(request.client)
    with service.desk.admitted(client), service.room.held(client) as grow:
        settings = service.settings
        # Nothing else keeps the body: the part of a form with the clip is another copy.
        question = questions.parse(
            await _body(request, most_bytes=settings.body_bytes, within_s=settings.sending_s, grow=grow),
            request.headers,
            request.query_params,
        )
        try:
            replied = await service.desk.do(
                functools.partial(service.reply, question), gone=parameters.gone(request.receive)
            )
        except Refusal as refusal:
            if question.format == "json":
                raise
            return _json(acrcloud.failure(refusal.status, refusal.text), refusal.status, refusal.headers)
    status = 422 if replied.error else 200
    if question.format == "acrcloud":
        return _json(await asyncio.to_thread(service.acrcloud, replied), status)
    return responses.Response(answers.as_json(replied), status, media_type="application/json")


async def list_tracks(request: requests.Request) -> responses.Response:
    service: Service = request.app.state.service
    limit = parameters.count(request.query_params, "limit", 100, low=1, high=_MOST_TRACKS)
    after = parameters.count(request.query_params, "after", 0, low=0, high=2**63 - 1)
    text, name = request.query_params.get("q", ""), request.query_params.get("name")
    if len(text) > _MOST_TEXT:
        raise Refusal(400, f"q: at most {_MOST_TEXT} characters")
    if name is not None:
        return _json({"tracks": [_record(track) for track in await _named(service, name)], "next": None})
    read = functools.partial(service.database.page, after=after, limit=limit + 1, text=_encodable(text))
    with service.desk.admitted(service.clients.of(request.client)):
        tracks = await service.desk.do(read, gone=parameters.gone(request.receive))
    next_after = tracks[limit - 1].id if len(tracks) > limit else None
    return _json({"tracks": [_record(track) for track in tracks[:limit]], "next": next_after})


async def _named(service: Service, name: str) -> list[catalogue.DatabaseTrack]:
    try:
        return [await asyncio.to_thread(service.database.track, _encodable(name))]
    except Refusal:
        return []


async def show_track(request: requests.Request) -> responses.Response:
    database = request.app.state.service.database
    return _json(_record(await asyncio.to_thread(database.track, request.path_params["number"])))


async def add_track(request: requests.Request) -> responses.Response:
    service: Service = request.app.state.service
    _require_token(request, service.settings)
    if service.adding.locked():
        raise Refusal(503, "another recording is being added; try again", {"Retry-After": "2"})
    async with service.adding:
        settings = service.settings
        body = await _body(request, most_bytes=settings.track_bytes, within_s=settings.track_sending_s)
        name, data, metadata = _recording(body, request)
        add = functools.partial(service.add, data, name, metadata)
        within_s = 10 * settings.request_s
        with service.desk.admitted(service.clients.of(request.client)):
            track = await service.desk.do(add, gone=_never, within_s=within_s)
    return _json(_record(track), 201, {"Location": f"/v1/tracks/{track.id}"})


async def remove_track(request: requests.Request) -> responses.Response:
    service: Service = request.app.state.service
    _require_token(request, service.settings)
    remove = functools.partial(service.database.remove, request.path_params["number"])
    with service.desk.admitted(service.clients.of(request.client)):
        await service.desk.do(remove, gone=_never)
    return responses.Response(status_code=204)


async def health(request: requests.Request) -> responses.Response:
    service: Service = request.app.state.service
    info = await asyncio.to_thread(service.database.info)
    network = service.database.network
    facts = {name: info[name] for name in ("tracks", "seconds", "fingerprints", "bytes", "storage")}
    described = {
        "sha256": network.identity["sha256"],
        "sample_rate_hz": network.sample_rate_hz,
        "segment_s": network.segment / network.sample_rate_hz,
        "hop_s": network.hop / network.sample_rate_hz,
        "dim": network.dim,
        "onnx": service.browser_network.address if service.browser_network else None,
    }
    limits = {"bytes": service.settings.body_bytes, "seconds": service.settings.clip_s}
    state = {"status": "ok", "tracks_searched": service.database.n_tracks}
    state |= {"read_only": service.settings.token is None, "calibrated": service.database.calibrated is not None}
    state |= {"plays": service.settings.play, "asking": asking.rules(hop_s=described["hop_s"])}
    return _json(state | facts | {"network": described, "limits": limits})


async def describe(request: requests.Request) -> responses.Response:
    return _json(description.openapi())


async def measure(request: requests.Request) -> responses.Response:
    text = await asyncio.to_thread(request.app.state.service.measured)
    return responses.Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})


async def listen(websocket: websockets.WebSocket) -> None:
    service: Service = websocket.app.state.service
    await websocket.accept()
    if service.n_listeners >= service.settings.listeners:
        await _refuse(websocket, f"{service.n_listeners} streams are being listened to already", _TRY_LATER)
        return
    service.n_listeners += 1
    try:
        with service.streams.taken(service.clients.of(websocket.client)):
            stream = await asyncio.to_thread(_stream, service, dict(websocket.query_params))
            await _converse(websocket, stream, service)
    except Refusal as refusal:
        await _refuse(websocket, refusal.text, _TRY_LATER if refusal.status == 429 else _POLICY)
    except errors.Invalid as error:
        await _refuse(websocket, str(error), _POLICY)
    finally:
        service.n_listeners -= 1


def _stream(service: Service, query: dict[str, str]) -> listening.Stream:
    request = questions.listen(query)
    monitor = service.database.monitor(most_speed=request.max_speed / 100)
    rate_hz = service.database.network.sample_rate_hz
    return listening.Stream(request, monitor, sample_rate_hz=rate_hz, patience_s=2 * service.settings.silent_s)


async def _converse(websocket: websockets.WebSocket, stream: listening.Stream, service: Service) -> None:
    """Feeds a stream from a socket, and sends what it tells, until both have ended."""
    loop, told = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any] | None]()

    def tell(event: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(told.put_nowait, event)

    def hear() -> None:
        try:
            stream.hear(tell)
        except Exception:
            logging.getLogger(__name__).exception("a defect: in a stream")
            tell({"event": "error", "error": _DEFECT})
        finally:
            tell(None)

    hearing = loop.run_in_executor(service.ears, hear)
    feeding = asyncio.create_task(_feed(websocket, stream, service.settings))
    try:
        last: dict[str, Any] = {}
        while (event := await told.get()) is not None:
            await websocket.send_text(json.dumps(event))
            last = event
        feeding.cancel()
        if websocket.application_state is websockets.WebSocketState.CONNECTED:
            await websocket.close(_UNSUPPORTED if last.get("event") == "error" else 1000)
    except (websockets.WebSocketDisconnect, RuntimeError):  # The client has left.
        pass
    finally:
        stream.cut()
        feeding.cancel()
        await asyncio.gather(hearing, feeding, return_exceptions=True)


async def _feed(websocket: websockets.WebSocket, stream: listening.Stream, settings: ServeSettings) -> None:
    """Hands the messages of a client to a stream, until its end, silence, or the longest time."""
    try:
        async with asyncio.timeout(settings.listen_s):
            while True:
                message = await asyncio.wait_for(websocket.receive(), settings.silent_s)
                if message["type"] == "websocket.disconnect":
                    stream.cut()
                    return
                data = message.get("bytes")
                if not data:  # An empty message, or words.
                    break
                await stream.feed(data)
    except TimeoutError:
        pass
    await stream.finish()


async def _refuse(websocket: websockets.WebSocket, text: str, code: int) -> None:
    with contextlib.suppress(websockets.WebSocketDisconnect, RuntimeError):
        await websocket.send_text(json.dumps({"event": "error", "error": text}))
        await websocket.close(code)


async def _body(
    request: requests.Request, *, most_bytes: int, within_s: float, grow: Callable[[int], None] = lambda n_bytes: None
) -> bytes:
    stream, headers = request.stream(), request.headers
    try:
        return await bodies.read(stream, headers, most_bytes=most_bytes, within_s=within_s, grow=grow)
    except requests.ClientDisconnect:
        raise ClientGone from None


async def _never() -> None:
    """Waits for ever: a change of the database is finished, whether its client waits for it or not."""
    await asyncio.Event().wait()


def _recording(body: bytes, request: requests.Request) -> tuple[str, bytes, dict[str, str]]:
    """Returns name, file and metadata of a recording to add."""
    texts, upload = dict(request.query_params), bodies.Upload("", body)
    if bodies.is_form(request.headers):
        form = bodies.form(body, request.headers)
        found = form.files.get("file") or form.files.get("sample")
        if found is None:
            raise Refusal(400, "the form has no field 'file'")
        texts, upload = form.texts | texts, found
    unknown = sorted(set(texts) - {"name", *_METADATA})
    if unknown:
        raise Refusal(400, f"no parameter {unknown[0]!r}; there are name, {', '.join(_METADATA)}")
    name = texts.pop("name", "") or upload.name
    if not name or len(name) > 255 or _UNSEEN.search(name) or "/" in name or "\\" in name:
        raise Refusal(400, "name: the track needs a name of 1 to 255 visible characters without slashes")
    if not upload.data:
        raise Refusal(400, "an empty recording: send the bytes of an audio file")
    return name, upload.data, {key: _encodable(text)[:_MOST_VALUE] for key, text in texts.items() if text}


def _require_token(request: requests.Request, settings: ServeSettings) -> None:
    """Raises Refusal unless the request may change the database."""
    if settings.token is None:
        raise Refusal(403, "this server is read-only: it was started without a token")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not settings.opens(token.strip()):
        raise Refusal(401, "a token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def _record(track: catalogue.DatabaseTrack) -> dict[str, Any]:
    """Returns what the server tells of a track."""
    fixed = {"id": track.id, "name": track.name, "seconds": round(track.seconds, 3), "fingerprints": track.n_rows}
    return fixed | {
        "added": track.added,
        "damage": track.damage,
        "digest": track.digest,
        "metadata": dict(track.metadata),
    }


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> responses.Response:
    """Returns JSON in ASCII, so that names which are no valid text can be told, too."""
    return responses.Response(json.dumps(value), status, headers, media_type="application/json")


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


async def _unknown_address(request: requests.Request, error: Exception) -> responses.Response:
    assert isinstance(error, exceptions.HTTPException)
    text = {404: "no such address; /v1/openapi.json lists those there are", 405: "not with this method"}
    return _json({"error": text.get(error.status_code, error.detail)}, error.status_code, dict(error.headers or {}))


async def _refused(request: requests.Request, error: Exception) -> responses.Response:
    assert isinstance(error, Refusal)
    return _json({"error": error.text}, error.status, error.headers)


async def _unread(request: requests.Request, error: Exception) -> responses.Response:
    return responses.Response(status_code=499)  # As nginx counts it. Nobody reads it.


async def _defect(request: requests.Request, error: Exception) -> responses.Response:
    return _json({"error": _DEFECT}, 500)
