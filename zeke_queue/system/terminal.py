"""Untrusted text for terminals, without the control characters that a terminal would interpret.

Senders of jobs determine names, payloads, errors and log fields. A terminal interprets escape
sequences and C1 controls, and direction marks make one text look like another. So everything that may reach
a terminal passes ``harmless``, or as JSON ``escaped``: the console and ``echo`` of the command line, and the
lines of the log.
"""

from __future__ import annotations

import unicodedata
from typing import Final

JOINERS: Final = "\u200c\u200d"
"""Invisible characters that letters of Persian and emojis need; they control nothing."""

LINES: Final = "\n\t" + JOINERS
"""Characters to keep in text of several lines."""

_CONTROLLING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control and format characters, surrogates, line and paragraph separators.

Other characters that Python calls unprintable are text: the spaces of French and Japanese, private-use
characters, and those that are newer than this Python.
"""

_BMP_END: Final = 0x10000


def harmless(text: str, keep: str = "") -> str:
    r"""Replace each character that may control a terminal by ``·``, except those to keep.

    Replaced are C0 and C1 controls, line breaks, invisible marks such as those of text direction, and lone
    surrogates.

    >>> harmless("\x1b[2Jred\n")
    '·[2Jred·'
    """
    if text.isprintable():
        return text
    return "".join("·" if _controls(char) and char not in keep else char for char in text)


def escaped(text: str) -> str:
    r"""Escape the same characters of JSON text, which keeps its value; its line breaks remain.

    JSON itself requires escapes of C0 controls only.

    >>> escaped('["\u202e"]')
    '["\\u202e"]'
    """
    if text.isprintable():
        return text
    return "".join(_escape(char) if _controls(char) and char != "\n" else char for char in text)


def _controls(char: str) -> bool:
    return not char.isprintable() and unicodedata.category(char) in _CONTROLLING


def _escape(char: str) -> str:
    code = ord(char)
    if code < _BMP_END:
        return f"\\u{code:04x}"
    high, low = divmod(code - _BMP_END, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
