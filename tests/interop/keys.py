"""Keys of the API, for clients in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.client.parts import parts_of
from zeke_queue.core import apikeys
from zeke_queue.storage.access import NewKey, Scope

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.client.queue import Queue


async def add_key(queue: Queue, name: str, *scopes: Scope, team: UUID | None = None) -> str:
    """Store a key; returns its text."""
    text = apikeys.new_key(parts_of(queue).entropy.stream("key").randbytes(apikeys.KEY_BYTES))
    key = NewKey(
        parts_of(queue).factory.new_id(),
        name,
        apikeys.prefix_of(text),
        apikeys.digest_of(text),
        frozenset(scopes),
        team_id=team,
    )
    await parts_of(queue).storage.access.create_key(key)
    return text
