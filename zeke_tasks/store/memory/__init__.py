"""The domain's store in memory: what the Postgres one is compared with, and what simulations run on.

What a transaction of the queue writes is laid over the committed rows until it commits, so that nobody else
sees it and a rollback leaves nothing. Whoever wants to write what an open transaction has written waits for
its end, as in Postgres; whoever merely looks sees what is committed.
"""

from __future__ import annotations

from zeke_tasks.store.memory.repository import MemoryRepository, MemoryRows

__all__ = ["MemoryRepository", "MemoryRows"]
