"""Makes names and tags that come from elsewhere safe to show: no byte of them commands a terminal or a spreadsheet.

JSON needs none of this, because it has escapes of its own. There the names stay exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Control characters, line and paragraph separators, marks that turn the direction of writing, and the bytes of file
# names that are no text (as surrogates).
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # A spreadsheet computes a cell that begins with one of these.


def plain(text: object) -> str:
    """Returns a text on one line, with an escape such as \\x1b or \\n for each character that a terminal would obey."""
    return _UNSEEN.sub(_escape, str(text))


def lines(texts: Iterable[object]) -> str:
    """Joins texts to lines. Each text is made safe by `plain`."""
    return "\n".join(map(plain, texts))


def cell(value: object) -> object:
    """Returns a value for a CSV or TSV file. A text is made `plain`, and gets a ' if a spreadsheet would compute it."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if value.startswith(_FORMULA) else text


def _escape(match: re.Match) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # A byte, as Python keeps it in a file name.
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(match[0], f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
