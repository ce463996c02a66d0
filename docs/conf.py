"""The site that `make docs` builds into build/docs.

Sphinx and Furo because both are maintained. MkDocs has had no release since 1.6.1 (2024), Material for MkDocs promised
maintenance until November 2026, and Zensical, its successor, is at 0.1.
"""

import pathlib
import sys
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import nafp

project, author, release = "nafp", "the nafp authors", nafp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4  # Headings are anchors, named as GitHub names them.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
add_module_names = False
default_role = "code"  # Docstrings write `name` as Markdown does.
nitpicky = False  # Types of numpy and the standard library are named, not linked: a link would need the network.
html_theme = "furo"
html_title = f"nafp {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


class PublicNames(SphinxDirective):
    """Documents every name of `nafp.__all__`, so that no public name can be left out."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for name in sorted(set(nafp.__all__) - {"__version__"}):
            public = getattr(nafp, name)
            if isinstance(public, type):
                lines += [f".. autoclass:: nafp.{name}", "   :members:", ""]
            else:
                lines += [f".. autofunction:: nafp.{name}", ""]
        parent = nodes.section()
        self.state.nested_parse(StringList(self._rst(lines)), 0, parent)
        return parent.children

    def _rst(self, lines: list[str]) -> list[str]:
        return ["```{eval-rst}", *lines, "```"]


def with_stars_kept(*event: Any) -> None:
    """Keeps the stars of a pattern such as */live/*, which docutils would take for emphasis."""
    lines = event[-1]
    for i, line in enumerate(lines):
        texts_and_codes = line.split("`")
        texts_and_codes[::2] = [text.replace("*", r"\*") for text in texts_and_codes[::2]]
        lines[i] = "`".join(texts_and_codes)


def without_fields(app: Sphinx, what: str, name: str, member: object, *more: Any) -> bool | None:
    """Leaves out the fields of named tuples: the signature and the docstring have them already."""
    doc = getattr(member, "__doc__", None) or ""
    return True if doc.startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", with_stars_kept)
    app.connect("autodoc-skip-member", without_fields)
