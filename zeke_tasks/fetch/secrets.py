"""What of a URL is not for log lines and messages: the words that let whoever has them in.

Feeds of one reader alone are told apart by a word in their URL. Whoever reads the log must not be able to
read the feed.
"""

from __future__ import annotations

import re
from typing import overload

_NAMES = "token|key|apikey|auth|authorization|secret|sig|signature|pass|password|passwd|pwd|jwt|session|sid"
# A name begins after a sign that parts parameters, and after what its parts are joined by, or with a capital
# letter. One step for each sign: whoever writes URLs is a stranger.
_SECRETS = re.compile(
    rf"([?&;#](?:[\w.-]*(?:[_.-]|(?<=[a-z0-9])(?=[A-Z])))?(?i:{_NAMES})(?:\[\w*\]|%5B\w*%5D)?=)"
    r"[^&;#\s'\"<>]*[^&;#\s'\"<>:,.]"
)


@overload
def without_secrets(text: str) -> str: ...
@overload
def without_secrets(text: None) -> None: ...
def without_secrets(text: str | None) -> str | None:
    """Return a URL, or a text that holds some, with ``…`` for the values of parameters that look secret.

    Those are parameters called ``token``, ``key``, ``auth``, ``secret``, ``sig`` or ``password``, and the
    like, alone or at the end of a name: ``access_token``, ``accessToken``. A secret in the path is not known
    as one, and neither is one within a URL that is itself the value of a parameter.

    >>> without_secrets("https://example.org/feed?user=7&access_token=a1b2c3")
    'https://example.org/feed?user=7&access_token=…'
    """
    return None if text is None else _SECRETS.sub(r"\1…", text)
