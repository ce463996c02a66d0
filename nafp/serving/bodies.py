"""The bytes of a request: no more than are allowed, in no more time than is allowed, and the parts of a form in them.

Only this file imports python_multipart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

import python_multipart
from python_multipart import exceptions, multipart

from nafp.serving.refusals import Refusal

_MOST_PARTS = 64
_MOST_HEAD = 2048  # Bytes of the headers of a part.
_MOST_TEXT = 8192  # Bytes of a field that is text.


class Upload(NamedTuple):
    """A file of a form. name: what the client calls it, never a path of this machine."""

    name: str
    data: bytes


class Form(NamedTuple):
    """A form: its texts and its files, by the names of their fields."""

    texts: dict[str, str]
    files: dict[str, Upload]


async def read(
    stream: AsyncIterator[bytes],
    headers: Mapping[str, str],
    *,
    most_bytes: int,
    within_s: float,
    grow: Callable[[int], None] = lambda n_bytes: None,
) -> bytes:
    """Returns a whole body. Raises Refusal: 413 if it is too large, 408 if it is too slow, 415 if it is compressed.

    grow: is told of the bytes of each part before they are kept, and may refuse them.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "a compressed body: send it as it is; audio is compressed already")
    too_large = Refusal(413, f"the body has more than {most_bytes / (1 << 20):g} MB")
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for part in stream:
                if len(body) + len(part) > most_bytes:
                    raise too_large
                grow(len(part))
                body += part
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {within_s:g} s") from None
    return bytes(body)


def is_form(headers: Mapping[str, str]) -> bool:
    """Returns whether a body is a multipart form."""
    return headers.get("content-type", "").lower().startswith("multipart/form-data")


def form(body: bytes, headers: Mapping[str, str]) -> Form:
    """Takes a multipart form apart. Raises Refusal 400 for one that is damaged, and for one of too many parts."""
    _, options = multipart.parse_options_header(headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Refusal(400, "the form has no boundary in its Content-Type")
    collected = _Parts()
    try:
        parser = python_multipart.MultipartParser(boundary, collected.callbacks())
        parser.write(body)
        parser.finalize()
    except exceptions.FormParserError as error:
        raise Refusal(400, f"the form is damaged: {error}") from None
    if not collected.is_whole:
        raise Refusal(400, "the form ends before its last boundary")
    return collected.form


class _Parts:
    """What the parser calls: it gathers the parts of a form."""

    def __init__(self) -> None:
        self.form, self.is_whole = Form({}, {}), False
        self._n_parts = 0
        self._begin()

    def callbacks(self) -> multipart.MultipartCallbacks:
        """Returns the functions for the parser, by the names that it has for them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._head(self._field, data[start:end]),
            "on_header_value": lambda data, start, end: self._head(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.extend(memoryview(data)[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._field, self._value, self._data = bytearray(), bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._n_head = 0

    def _head(self, into: bytearray, data: bytes) -> None:
        self._n_head += len(data)
        if self._n_head > _MOST_HEAD:
            raise Refusal(400, f"a part of the form has headers of more than {_MOST_HEAD} bytes")
        into.extend(data)

    def _end_header(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _end_part(self) -> None:
        self._n_parts += 1
        if self._n_parts > _MOST_PARTS:
            raise Refusal(400, f"the form has more than {_MOST_PARTS} parts")
        _, options = multipart.parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        if not name:
            raise Refusal(400, "a part of the form has no name")
        if b"filename" in options or name in ("sample", "file"):
            self.form.files[name] = Upload(options.get(b"filename", b"").decode(errors="replace"), bytes(self._data))
        elif len(self._data) > _MOST_TEXT:
            raise Refusal(400, f"the field {name!r} has more than {_MOST_TEXT} bytes")
        else:
            self.form.texts[name] = self._data.decode(errors="replace")

    def _end(self) -> None:
        self.is_whole = True
