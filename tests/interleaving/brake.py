"""Pauses a statement at the first job or line that it writes, so that two statements run at once.

By then it has its snapshot, has counted what it counts and locked what it looked for; nothing of it is seen
by others yet. A trigger does it, on the test's own database: it takes a lock that the scheduler may hold,
which has the number of the server process that runs the statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

    from tests.interleaving.gate import Gate

INSTALL = """
create or replace function pgboss.brake() returns trigger language plpgsql as $$
begin
    perform pg_advisory_lock(pg_backend_pid());
    perform pg_advisory_unlock(pg_backend_pid());
    if tg_op = 'DELETE' then
        return old;
    end if;
    return new;
end
$$;
create or replace trigger zz_brake before insert or update or delete on pgboss.job
for each row execute function pgboss.brake();
create or replace trigger zz_brake before insert on pgboss.job_event
for each row execute function pgboss.brake();
"""


class Brake:
    """Holds the locks of the clients that must stop.

    Args:
        connection: the scheduler's; a statement that it blocks stops inside.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._held: set[int] = set()

    @property
    def pid(self) -> int:
        """The server process that holds them."""
        return self._connection.info.backend_pid

    async def install(self) -> None:
        await self._connection.execute(INSTALL)

    async def put_on(self, gate: Gate) -> None:
        """Stop the next statement of a client at its first write."""
        if gate.pid not in self._held:
            await self._connection.execute("select pg_advisory_lock(%s::bigint)", [gate.pid])
            self._held.add(gate.pid)

    async def take_off(self, gate: Gate) -> None:
        """Release it, and do not stop the next ones."""
        if gate.pid in self._held:
            await self._connection.execute("select pg_advisory_unlock(%s::bigint)", [gate.pid])
            self._held.discard(gate.pid)
        gate.inside = False
