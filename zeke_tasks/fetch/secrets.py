"""Removal of secrets from URLs in log lines and messages.

Private feeds have a token in their URL, which gives access to the feed. So it must not be in the log.
"""

from __future__ import annotations

import re
from typing import overload

_NAMES = "token|key|apikey|auth|authorization|secret|sig|signature|pass|password|passwd|pwd|jwt|session|sid"
# A name begins after a separator of parameters or of a name's parts, or with a capital letter. URLs are
# untrusted, so the pattern takes one step per character.
_SECRETS = re.compile(
    rf"([?&;#](?:[\w.-]*(?:[_.-]|(?<=[a-z0-9])(?=[A-Z])))?(?i:{_NAMES})(?:\[\w*\]|%5B\w*%5D)?=)"
    r"[^&;#\s'\"<>]*[^&;#\s'\"<>:,.]"
)


@overload
def without_secrets(text: str) -> str: ...
@overload
def without_secrets(text: None) -> None: ...
def without_secrets(text: str | None) -> str | None:
    """Return a URL, or a text with URLs, with ``…`` for the values of parameters that look secret.

    Those are parameters named ``token``, ``key``, ``auth``, ``secret``, ``sig``, ``password`` or similar,
    alone or at the end of a name: ``access_token``, ``accessToken``. A secret in the path is not recognised,
    nor is one in a URL that is itself the value of a parameter.

    >>> without_secrets("https://example.org/feed?user=7&access_token=a1b2c3")
    'https://example.org/feed?user=7&access_token=…'
    """
    return None if text is None else _SECRETS.sub(r"\1…", text)
