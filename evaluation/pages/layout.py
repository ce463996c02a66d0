"""The frame of every page: one style sheet, one policy, no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jinja2

from . import svg, tones

_SHARED = pathlib.Path(__file__).with_name("templates")


def page(
    folder: pathlib.Path, template: str, *, maker: str, title: str, scripts: Sequence[str] = (), **content: Any
) -> str:
    """Returns a page as HTML.

    folder: where `template` lies, which extends page.html. maker: the command, as `is_made_by` finds it again. scripts:
    files that go into the page, there or beside page.html. Its policy names the hashes of its style sheet and of its
    script, and allows nothing else.
    """
    templates = _templates(folder)
    style = f"\n{_text(templates, 'page.css')}{tones.style_sheet()}\n"
    script = "".join(f"\n{_text(templates, name)}" for name in scripts)
    return templates.get_template(template).render(maker=maker, title=title, style=style, script=script, **content)


def is_made_by(maker: str) -> Callable[[bytes], bool]:
    """Returns a function that says whether the first bytes of a file are those of a page of this command."""
    mark = f'<meta name="generator" content="{maker}">'.encode()
    return lambda head: mark in head


def _templates(folder: pathlib.Path) -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["sha256"] = _sha256
    templates.globals["shapes"] = svg.shapes
    return templates


def _text(templates: jinja2.Environment, name: str) -> str:
    """Returns a file as it is: a style sheet or a script holds no fields."""
    assert templates.loader  # For the type checker: `_templates` sets it.
    return templates.loader.get_source(templates, name)[0]


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
