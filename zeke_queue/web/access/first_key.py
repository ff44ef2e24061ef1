"""The first API key, and links with which its holder signs in once.

A user who can start the server can also create keys in its database, so printing the link grants nothing new.
A link's token is stored like a session's, under a digest that no session's token has. It expires, ends with
its key, and is deleted at its first use, in any process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_queue.client.parts import parts_of
from zeke_queue.core import apikeys
from zeke_queue.errors import PermissionDeniedError
from zeke_queue.storage.access import NewKey, Scope

if TYPE_CHECKING:
    from zeke_queue.client.queue import Queue
    from zeke_queue.storage.access import Access, ApiKey

FIRST_KEY: Final = UUID("00000000-0000-4000-8000-000000000001")
"""The id of the first key: of several processes that start at once, only one stores it."""

FIRST_NAME: Final = "first"

LINK_SECONDS: Final = 900.0
"""How long a sign-in link is valid, unless it is used before."""

TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class FirstSignIn:
    """What the user who starts a server needs to sign in.

    Attributes:
        token: the token of a sign-in link.
        key: the text of the first key if it was created now; it is known only here.
    """

    token: str = field(repr=False)
    key: str | None = field(repr=False)


async def first_sign_in(queue: Queue, *, again: bool) -> FirstSignIn | None:
    """Create the first key if no key was ever stored, and a sign-in link for it.

    As long as neither the key nor a link was used, each call creates another link: earlier ones may be lost.

    Args:
        again: whether to create a link also if the first key was used already.

    Returns:
        None if there is nothing to sign in with: the first key was used (without ``again``) or is revoked,
        others were created before it, or the database's role may not create keys.
    """
    access = parts_of(queue).storage.access
    text = None
    if not await access.has_keys():
        text = apikeys.new_key(parts_of(queue).entropy.stream("key").randbytes(apikeys.KEY_BYTES))
        try:
            stored = await access.create_key(
                NewKey(
                    id=FIRST_KEY,
                    name=FIRST_NAME,
                    prefix=apikeys.prefix_of(text),
                    digest=apikeys.digest_of(text),
                    scopes=frozenset({Scope.ADMIN}),
                )
            )
        except PermissionDeniedError:
            return None
        if stored.digest != apikeys.digest_of(text):
            text = None  # another process created it at the same time
    elif not again and not await _is_unused(access):
        return None
    token = parts_of(queue).entropy.stream("session").randbytes(TOKEN_BYTES).hex()
    opened = await access.create_session(apikeys.link_digest(token), FIRST_KEY, LINK_SECONDS)
    return FirstSignIn(token, text) if opened else None


async def _is_unused(access: Access) -> bool:
    """Return whether the first key exists and was never used."""
    return any(key.id == FIRST_KEY and key.last_used_on is None for key in await access.keys())


async def use_link(access: Access, token: str) -> ApiKey | None:
    """Use up a sign-in link and return its key; None if it was used, has expired, or never existed."""
    digest = apikeys.link_digest(token)
    key = await access.get_session(digest)
    # Of two requests at once, only one deletes it.
    return key if key is not None and await access.delete_session(digest) else None
