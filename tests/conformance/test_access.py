"""Keys and sessions: how they are stored, when they are valid, and what ends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.cases import check_each_async
from tests.clocks import START, FrozenClock
from zeke_queue.core import apikeys
from zeke_queue.storage import Storage
from zeke_queue.storage.access import ApiKey, NewKey, Scope
from zeke_queue.storage.memory import MemoryStorage

TEAM = UUID("00000000-0000-4000-8000-00000000001e")
TOKEN = apikeys.digest_of("a session's token")
OTHER = apikeys.digest_of("another one's")


def new_key(number: int = 1, **fields: Any) -> NewKey:
    text = apikeys.new_key(bytes([number]) * 32)
    given = {
        "id": UUID(int=number),
        "name": f"key {number}",
        "prefix": apikeys.prefix_of(text),
        "digest": apikeys.digest_of(text),
        "scopes": frozenset({Scope.TRIGGER}),
        **fields,
    }
    return NewKey(**given)


def stored(key: NewKey, created_on: datetime = START, **fields: Any) -> ApiKey:
    return ApiKey(key.id, key.name, key.prefix, key.digest, key.scopes, key.team_id, created_on, **fields)


async def good(storage: Storage, key: NewKey) -> bool:
    return key.id in [one.id for one in await storage.access.valid_keys(key.prefix)]


async def test_key_is_stored_unchanged_with_the_time_of_the_storage(
    storage: Storage, clock: FrozenClock
) -> None:
    key = new_key(name="Ü 'quoted' %s", scopes=frozenset(Scope), team_id=TEAM)
    assert await storage.access.create_key(key) == stored(key)
    clock.advance(1.5)
    other = new_key(2, scopes=frozenset())
    assert await storage.access.create_key(other) == stored(other, clock.now())
    assert await storage.access.keys() == [stored(key), stored(other, clock.now())]


async def test_key_with_a_stored_id_is_not_stored_again(storage: Storage, clock: FrozenClock) -> None:
    key = new_key()
    await storage.access.create_key(key)
    clock.advance(1)
    assert await storage.access.create_key(new_key(name="another", scopes=frozenset(Scope))) == stored(key)
    assert await storage.access.keys() == [stored(key)]


async def test_keys_are_listed_by_creation_then_id(storage: Storage, clock: FrozenClock) -> None:
    for number in (5, 3):
        await storage.access.create_key(new_key(number))
    clock.advance(1)
    for number in (4, 1):
        await storage.access.create_key(new_key(number))
    assert [key.id.int for key in await storage.access.keys()] == [3, 5, 1, 4]


async def test_has_keys_counts_a_revoked_key(storage: Storage) -> None:
    assert not await storage.access.has_keys()
    await storage.access.create_key(new_key())
    assert await storage.access.has_keys()
    await storage.access.revoke_key(new_key().id)
    assert await storage.access.has_keys()


async def test_keys_are_looked_up_by_the_whole_prefix(storage: Storage, clock: FrozenClock) -> None:
    key, twin = new_key(1), new_key(9, prefix=new_key(1).prefix)
    await storage.access.create_key(twin)
    await storage.access.create_key(new_key(2))
    clock.advance(1)
    await storage.access.create_key(key)
    assert await storage.access.valid_keys(key.prefix) == [stored(twin), stored(key, clock.now())]
    for wrong in (key.prefix[:-1], key.prefix + "0", key.prefix.upper(), "%", ""):
        assert await storage.access.valid_keys(wrong) == []


async def test_key_is_valid_until_the_instant_of_its_expiry(storage: Storage, clock: FrozenClock) -> None:
    key = new_key(expires_in=10.0)
    assert (await storage.access.create_key(key)).expires_on == clock.now().replace(second=10)
    clock.advance(9.999999)
    assert await good(storage, key)
    clock.advance(0.000001)
    assert not await good(storage, key)
    assert [one.id for one in await storage.access.keys()] == [key.id]


async def test_key_is_revoked_once(storage: Storage, clock: FrozenClock) -> None:
    key, other = new_key(1), new_key(2)
    await storage.access.create_key(key)
    await storage.access.create_key(other)
    clock.advance(1)
    revoked_on = clock.now()
    assert await storage.access.revoke_key(key.id)
    assert not await good(storage, key)
    clock.advance(1)
    assert not await storage.access.revoke_key(key.id)
    assert await storage.access.keys() == [stored(key, revoked_on=revoked_on), stored(other)]


USES = [(0.0, False), (59.999999, False), (60.0, True)]
"""Seconds between two uses, and whether the second one is stored."""


async def test_use_of_a_key_is_stored_once_a_minute(storage: Storage, clock: FrozenClock) -> None:
    async def check(after: float, noted: bool) -> None:  # noqa: FBT001 - the row of a table
        key, created = new_key(1 + USES.index((after, noted))), clock.now()
        await storage.access.create_key(key)
        clock.advance(5)
        first = clock.now()
        await storage.access.touch_key(key.id)
        clock.advance(after)
        await storage.access.touch_key(key.id)
        expected = stored(key, created, last_used_on=clock.now() if noted else first)
        assert expected in await storage.access.keys()

    await check_each_async(USES, check)


async def test_use_of_a_session_is_a_use_of_its_key(storage: Storage, clock: FrozenClock) -> None:
    async def check(after: float, noted: bool) -> None:  # noqa: FBT001 - the row of a table
        number = 1 + USES.index((after, noted))
        key, token, unused = new_key(number), bytes([number]) * 32, new_key(10 + number)
        created = clock.now()
        await storage.access.create_key(key)
        await storage.access.create_key(unused)
        await storage.access.create_session(token, key.id, 1000.0)

        async def uses() -> list[datetime | None]:
            known = {one.id: one.last_used_on for one in await storage.access.keys()}
            return [known[key.id], known[unused.id]]

        assert await uses() == [None, None]
        clock.advance(5)
        first = clock.now()
        assert await storage.access.get_session(token) == stored(key, created)
        assert await storage.access.get_session(OTHER) is None
        clock.advance(after)
        assert await storage.access.get_session(token) == stored(key, created, last_used_on=first)
        assert await uses() == [clock.now() if noted else first, None]

    await check_each_async(USES, check)


async def test_ended_session_touches_no_key(storage: Storage, clock: FrozenClock) -> None:
    await storage.access.create_key(new_key(1))
    await storage.access.create_key(new_key(2, expires_in=5.0))
    await storage.access.create_session(TOKEN, new_key(1).id, 5.0)
    await storage.access.create_session(OTHER, new_key(2).id, 100.0)
    clock.advance(5)
    for token in (TOKEN, OTHER):
        assert await storage.access.get_session(token) is None
    assert [key.last_used_on for key in await storage.access.keys()] == [None, None]


async def test_use_of_a_key_does_not_touch_other_keys(storage: Storage) -> None:
    await storage.access.create_key(new_key(1))
    await storage.access.touch_key(new_key(1).id)
    await storage.access.create_key(new_key(2))
    await storage.access.touch_key(UUID(int=99))
    assert [key.last_used_on for key in await storage.access.keys()] == [START, None]


async def test_session_returns_its_key_until_it_ends(storage: Storage, clock: FrozenClock) -> None:
    key = new_key(scopes=frozenset({Scope.READ, Scope.ADMIN}))
    await storage.access.create_key(key)
    assert await storage.access.create_session(TOKEN, key.id, 10.0)
    clock.advance(9.999999)
    assert await storage.access.get_session(TOKEN) == stored(key)
    assert await storage.access.get_session(OTHER) is None
    clock.advance(0.000001)
    assert await storage.access.get_session(TOKEN) is None


async def test_sessions_of_a_key_are_deleted_separately(storage: Storage) -> None:
    key = new_key()
    await storage.access.create_key(key)
    assert await storage.access.create_session(TOKEN, key.id, 10.0)
    assert await storage.access.create_session(OTHER, key.id, 10.0)
    assert await storage.access.delete_session(TOKEN)
    assert await storage.access.get_session(TOKEN) is None
    assert await storage.access.get_session(OTHER) == stored(key)
    assert not await storage.access.delete_session(TOKEN)


async def test_ended_session_cannot_be_deleted(storage: Storage, clock: FrozenClock) -> None:
    await storage.access.create_key(new_key())
    await storage.access.create_session(TOKEN, new_key().id, 10.0)
    clock.advance(10)
    assert not await storage.access.delete_session(TOKEN)


async def test_session_is_not_created_for_an_invalid_key(storage: Storage, clock: FrozenClock) -> None:
    revoked, expired = new_key(1), new_key(2, expires_in=5.0)
    await storage.access.create_key(revoked)
    await storage.access.create_key(expired)
    await storage.access.revoke_key(revoked.id)
    clock.advance(5)
    for key_id in (revoked.id, expired.id, UUID(int=99)):
        assert not await storage.access.create_session(TOKEN, key_id, 10.0)
    assert await storage.access.get_session(TOKEN) is None


async def test_session_is_not_created_for_a_used_token(storage: Storage, clock: FrozenClock) -> None:
    key, thief = new_key(1), new_key(2, scopes=frozenset({Scope.ADMIN}))
    await storage.access.create_key(key)
    await storage.access.create_key(thief)
    await storage.access.create_session(TOKEN, key.id, 10.0)
    assert not await storage.access.create_session(TOKEN, thief.id, 100.0)
    assert await storage.access.get_session(TOKEN) == stored(key)
    clock.advance(10)
    assert not await storage.access.create_session(TOKEN, thief.id, 100.0)
    assert await storage.access.get_session(TOKEN) is None


async def test_session_ends_when_its_key_expires_or_is_revoked(storage: Storage, clock: FrozenClock) -> None:
    revoked, expiring, other = new_key(1), new_key(2, expires_in=5.0), new_key(3)
    for number, key in enumerate((revoked, expiring, other)):
        await storage.access.create_key(key)
        assert await storage.access.create_session(bytes([number]) * 32, key.id, 100.0)
    await storage.access.revoke_key(revoked.id)
    clock.advance(5)
    assert await storage.access.get_session(bytes([0]) * 32) is None
    assert await storage.access.get_session(bytes([1]) * 32) is None
    assert await storage.access.get_session(bytes([2]) * 32) == stored(other)


async def test_repr_of_a_key_hides_its_digest(storage: Storage) -> None:
    key = await storage.access.create_key(new_key())
    assert "digest" not in repr(key)
    assert "digest" not in repr(new_key())


class Rows(Protocol):
    """Reads the rows of sessions past the storage, and changes keys as no method of ours does."""

    async def sessions(self) -> list[bytes]: ...

    async def spoil(self, key_id: UUID, column: str, instant: datetime) -> None: ...


class RowsInMemory:
    def __init__(self, storage: MemoryStorage) -> None:
        self._tables = storage._tables

    async def sessions(self) -> list[bytes]:
        return sorted(self._tables.sessions)

    async def spoil(self, key_id: UUID, column: str, instant: datetime) -> None:
        self._tables.keys[key_id] = replace(self._tables.keys[key_id], **{column: instant})


class RowsInPostgres:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def sessions(self) -> list[bytes]:
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            found = await connection.execute("select digest from pgboss.api_session order by digest")
            return [digest for (digest,) in await found.fetchall()]

    async def spoil(self, key_id: UUID, column: str, instant: datetime) -> None:
        changed = sql.SQL("update pgboss.api_key set {} = %s where id = %s").format(sql.Identifier(column))
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            await connection.execute(changed, [instant, key_id])


@pytest.fixture
def rows(opened: Storage, request: pytest.FixtureRequest) -> Rows:
    if isinstance(opened, MemoryStorage):
        return RowsInMemory(opened)
    return RowsInPostgres(request.getfixturevalue("emptied_dsn"))


async def test_revoking_a_key_deletes_its_sessions_only(storage: Storage, rows: Rows) -> None:
    key, other = new_key(1), new_key(2)
    for number, one in enumerate((key, key, other)):
        await storage.access.create_key(one)
        assert await storage.access.create_session(bytes([number]) * 32, one.id, 100.0)
    assert await storage.access.revoke_key(UUID(int=99)) is False
    assert len(await rows.sessions()) == 3
    await storage.access.revoke_key(key.id)
    assert await rows.sessions() == [bytes([2]) * 32]


@pytest.mark.parametrize("column", ["revoked_on", "expires_on"])
async def test_stored_session_of_an_invalid_key_is_not_returned(
    storage: Storage, rows: Rows, clock: FrozenClock, column: str
) -> None:
    key, other = new_key(1), new_key(2)
    for one, token in ((key, TOKEN), (other, OTHER)):
        await storage.access.create_key(one)
        assert await storage.access.create_session(token, one.id, 100.0)
    await rows.spoil(key.id, column, clock.now())
    assert TOKEN in await rows.sessions()
    assert await storage.access.get_session(TOKEN) is None
    assert await storage.access.get_session(OTHER) is not None
    assert not await storage.access.create_session(bytes(32), key.id, 100.0)


async def test_creating_a_session_deletes_ended_ones(
    storage: Storage, rows: Rows, clock: FrozenClock
) -> None:
    await storage.access.create_key(new_key())
    for number, seconds in enumerate((10.0, 10.000001, 20.0)):
        assert await storage.access.create_session(bytes([number]) * 32, new_key().id, seconds)
    clock.advance(10)
    assert len(await rows.sessions()) == 3
    assert await storage.access.create_session(TOKEN, new_key().id, 10.0)
    assert set(await rows.sessions()) == {bytes([1]) * 32, bytes([2]) * 32, TOKEN}
