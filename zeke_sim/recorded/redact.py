"""What a recording contains of payloads, results, keys and errors.

``none`` leaves payloads and results out, ``redacted`` replaces every value by one of the same type and
length and keeps the keys of objects, ``full`` keeps all. Except for ``full``, singleton and group keys are
replaced by digests that are equal for equal keys, with a salt that is not stored. Of errors only the type is
kept.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, cast

_DIGIT = re.compile(r"\d")


class Redaction:
    """Redacts values.

    Args:
        payloads: what is kept.
        salt: random bytes, the same for a whole recording.
    """

    def __init__(self, payloads: str, salt: bytes) -> None:
        self.payloads = payloads
        self._salt = salt

    def value(self, value: Any) -> Any:
        """Return what is kept of a JSON value."""
        if self.payloads == "full":
            return value
        return None if self.payloads == "none" else _shape(value)

    def key(self, key: str | None) -> str | None:
        """Return a key, or a digest of it."""
        if key is None or self.payloads == "full":
            return key
        # Keys with this prefix have another meaning in pg-boss.
        start = _QUEUE_OF_ONE if key.startswith(_QUEUE_OF_ONE) else ""
        return (
            start + blake2b(key.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=12).hexdigest()
        )


_QUEUE_OF_ONE = "__pgboss__singleton_queue"


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_shape(item) for item in cast("list[Any]", value)]
    if isinstance(value, str):
        return "x" * len(value)
    if value is None or isinstance(value, bool):
        return value and False
    # An integer keeps the number of its digits, so that it has the same length.
    return type(value)(0) if isinstance(value, float) else int(_DIGIT.sub("1", str(value)))
