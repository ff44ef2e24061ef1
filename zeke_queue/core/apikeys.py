"""The text of an API key: how it is made from random bytes, recognised, and what of it is stored.

A key is ``mid_`` and 64 hexadecimal digits in lower case, as in the earlier system. A storage keeps its first
characters, by which it is looked up and shown, and its digest. One round of SHA-256 is enough where the text
is 256 random bits: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from zeke_queue.errors import InvalidOptionError

KEY_BYTES: Final = 32
"""How many random bytes a key is made of."""

PREFIX_LENGTH: Final = 12
"""How many characters of a key are stored and shown: ``mid_``, and 8 of its 64 digits."""

_KEY: Final = re.compile(r"mid_[0-9a-f]{64}")


def new_key(draw: bytes) -> str:
    """Return the text of the key that is made of these random bytes.

    Raises:
        InvalidOptionError: they are not ``KEY_BYTES`` bytes.
    """
    if len(draw) != KEY_BYTES:
        raise InvalidOptionError(f"draw: {len(draw)} bytes are not {KEY_BYTES}")
    return f"mid_{draw.hex()}"


def is_well_formed(text: str) -> bool:
    """Return whether this can be a key at all."""
    return _KEY.fullmatch(text) is not None


def prefix_of(text: str) -> str:
    """Return the start of a key, which is no secret."""
    return text[:PREFIX_LENGTH]


def digest_of(text: str) -> bytes:
    """Return what is stored instead of a key, or of a session's token: SHA-256 of its text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def same(one: bytes, other: bytes) -> bool:
    """Return whether two digests are equal, in a time that does not tell how far they are."""
    return hmac.compare_digest(one, other)
