"""Text search in a job's stored data, as in ``JobQuery.text``."""

from __future__ import annotations


def contains(stored: str | None, text: str) -> bool:
    """Return whether a stored text contains another one, ignoring the case of ASCII letters.

    >>> contains('{"to": "Ada"}', "ADA"), contains("\u00c9", "\u00e9"), contains(None, "a")
    (True, False, False)
    """
    return stored is not None and _small(text) in _small(stored)


def _small(text: str) -> bytes:
    return text.encode().lower()  # on bytes, so only ASCII letters change
