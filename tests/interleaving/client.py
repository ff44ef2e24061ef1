"""A client of a script: a storage of its own behind a gate, every verb of which is noted."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from psycopg import OperationalError

from tests.interleaving.history import COMMIT, HOLD, ROLLBACK, History, Op
from zeke_queue.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from tests.interleaving.gate import Gate
    from tests.interleaving.wakeups import Ear
    from zeke_queue.model import Claimed
    from zeke_queue.storage.postgres import PostgresStorage

LOCK_JOBS = "select id from pgboss.job where id = any(%s) order by id for update"
"""What an application may do in its transaction beside our verbs."""


class Abandoned(Exception):
    """What a transaction is rolled back with."""


class Client:
    """One client of a run; ``claimed`` is what its claims gave it and it has not settled."""

    def __init__(self, number: int, storage: PostgresStorage, gate: Gate, history: History, ear: Ear) -> None:
        self.number = number
        self.gate = gate
        self.ear = ear
        self.claimed: list[Claimed] = []
        self._storage = storage
        self._history = history
        self._transactions = 0

    async def do(self, verb: str, *arguments: Any, **options: Any) -> Any:
        answer = await self._ask(
            Op(self.number, verb, arguments, options),
            lambda: getattr(self._storage, verb)(*arguments, **options),
        )
        if verb == "claim":
            self.claimed.extend(answer)
        return answer

    @asynccontextmanager
    async def transaction(self, *, commit: bool = True) -> AsyncIterator[ClientTransaction]:
        """Open a transaction; one that the server aborts because of a conflict is not repeated."""
        number = self._transactions
        self._transactions += 1
        ended = Op(self.number, COMMIT if commit else ROLLBACK, transaction=number)
        opening = self._storage.transaction()
        opened = await opening.__aenter__()
        try:
            yield ClientTransaction(self, opened, number)
            _abandon(not commit)
        except BaseException as error:
            raised, ended.verb = error, ROLLBACK
            await self._ask(ended, lambda: _end(opening, raised))
            if not isinstance(error, (Abandoned, StorageUnavailableError)):
                raise
        else:
            await self._ask(ended, lambda: opening.__aexit__(None, None, None))

    async def _ask(self, op: Op, verb: Callable[[], Awaitable[Any]]) -> Any:
        self.gate.op = op
        try:
            return await self._history.ask(op, verb())
        finally:
            self.gate.op = None


class ClientTransaction:
    def __init__(self, client: Client, opened: Any, number: int) -> None:
        self._client = client
        self._opened = opened
        self._number = number

    async def do(self, verb: str, *arguments: Any, **options: Any) -> Any:
        return await self._client._ask(
            Op(self._client.number, verb, arguments, options, self._number),
            lambda: getattr(self._opened, verb)(*arguments, **options),
        )

    async def hold(self, *ids: UUID) -> None:
        """Lock jobs by a statement of the application's."""
        await self._client._ask(
            Op(self._client.number, HOLD, ids, transaction=self._number),
            lambda: self._hold(ids),
        )

    async def _hold(self, ids: Sequence[UUID]) -> set[UUID]:
        try:
            found = await self._opened.connection.execute(LOCK_JOBS, [list(ids)])
            return {row[0] for row in await found.fetchall()}
        except OperationalError as error:
            # An application knows by the driver's error that it has to repeat its transaction.
            raise StorageUnavailableError(str(error)) from error


async def _end(opening: AbstractAsyncContextManager[Any], error: BaseException) -> None:
    """End a transaction's block with the error raised in it, which propagates."""
    with suppress(type(error)):
        await opening.__aexit__(type(error), error, error.__traceback__)


def _abandon(abandoned: bool) -> None:  # noqa: FBT001 - it says what happens
    if abandoned:
        raise Abandoned
