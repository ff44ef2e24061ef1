"""API keys: how a key is made from random bytes and recognised, and which parts of it are stored.

A key is ``mid_`` and 64 lower-case hexadecimal digits, as in the earlier system. A storage keeps its first
characters, for lookup and display, and its digest. One round of SHA-256 is enough, since 256 random bits
can't be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from zeke_queue.errors import InvalidOptionError

KEY_BYTES: Final = 32
"""Number of random bytes in a key."""

PREFIX_LENGTH: Final = 12
"""Characters of a key that are stored and shown: ``mid_``, and 8 of its 64 digits."""

_KEY: Final = re.compile(r"mid_[0-9a-f]{64}")


def new_key(draw: bytes) -> str:
    """Return the text of a key made from these random bytes.

    Raises:
        InvalidOptionError: they are not ``KEY_BYTES`` bytes.
    """
    if len(draw) != KEY_BYTES:
        raise InvalidOptionError(f"draw: must be {KEY_BYTES} bytes, got {len(draw)}")
    return f"mid_{draw.hex()}"


def is_well_formed(text: str) -> bool:
    """Return whether a text has the form of a key."""
    return _KEY.fullmatch(text) is not None


def prefix_of(text: str) -> str:
    """Return the start of a key, which is not secret."""
    return text[:PREFIX_LENGTH]


def digest_of(text: str) -> bytes:
    """Return the SHA-256 digest of a key or of a session's token, which is stored in its place."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def link_digest(token: str) -> bytes:
    """Return the digest under which a sign-in link's token is stored; no session's token has the same."""
    return hmac.digest(b"zeke sign-in link", token.encode("utf-8", "surrogatepass"), "sha256")


def same(one: bytes, other: bytes) -> bool:
    """Return whether two digests are equal, in constant time."""
    return hmac.compare_digest(one, other)
