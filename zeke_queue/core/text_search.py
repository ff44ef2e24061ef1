"""Finding a text in what is stored of a job, as ``JobFilter.text`` asks for it."""

from __future__ import annotations


def contains(stored: str | None, text: str) -> bool:
    """Return whether a stored text contains another one, ASCII letters of either case being alike.

    >>> contains('{"to": "Ada"}', "ADA"), contains("\u00c9", "\u00e9"), contains(None, "a")
    (True, False, False)
    """
    return stored is not None and _small(text) in _small(stored)


def _small(text: str) -> bytes:
    return text.encode().lower()  # of bytes, which leaves alone what is beyond ASCII
