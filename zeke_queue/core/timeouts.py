"""How long both storages wait: for a lock, for a statement, and in an open transaction.

ARCHITECTURE.md lists the waits, and what happens at their end.
"""

from __future__ import annotations

from typing import Final

LOCK_SECONDS: Final = 2.0
"""Maximum seconds that a statement waits for a lock of another transaction.

Longer than Postgres's ``deadlock_timeout`` of one second, so that a deadlock is found first and repeated.
"""

BRIEF_LOCK_SECONDS: Final = 0.1
"""Maximum seconds that a settlement which skips locked jobs waits for a slot or a child of one job."""

LOCKS_TRIED: Final = 10
"""Failed waits of such a settlement after which it waits ``LEAST_LOCK_SECONDS`` for each of the others."""

LEAST_LOCK_SECONDS: Final = 0.001
"""Postgres's shortest limit: long enough for what is not locked, so that every such job is settled."""

TICK_LOCK_SECONDS: Final = 0.2
"""Maximum seconds that a transaction which serves ticks waits for a lock, since it delays other schedules."""

STATEMENT_SECONDS: Final = 60.0
"""Maximum seconds of a statement; only a bad plan or a stalled server takes that long."""

DUTY_SECONDS: Final = 60.0
"""Seconds after which a duty of a sweep begins no further batch or part of one, so that the others come."""

RETRY_SECONDS: Final = 600.0
"""Seconds until maintenance tries a row again that took too long, or that retention could not lock."""

SLOW_MAX: Final = 3
"""Schedules of a round over ``STATEMENT_SECONDS`` after which it ends: the server is slow then."""

SILENCE_SECONDS: Final = 30.0
"""Seconds beyond the limit of a statement after which the connection to an unresponsive server is closed.

A server that hangs enforces no limits, nor does a commit that waits for a standby.
"""

READ_SECONDS: Final = 5.0
"""Seconds that a search of jobs, or a count by time, runs by default (``JOBS_READ_TIMEOUT``)."""

BLOCK_SECONDS: Final = 60.0
"""Seconds that ``job.transaction()`` waits for other tasks of its handler that have such a block open."""

IDLE_SECONDS: Final = 30.0
"""Maximum seconds for which a transaction of this package stays idle.

A frozen process would otherwise keep its locks until it continues.
"""
