"""The domain's store in memory: the reference for the Postgres store, and the store of simulations.

Writes of a queue transaction are kept in a layer over the committed rows until it commits, so that no other
transaction sees them and a rollback discards them. As in Postgres, a write to a row that an open transaction
has written waits for its end, and reads see the committed row.
"""

from __future__ import annotations

from zeke_tasks.store.memory.repository import MemoryRepository, MemoryRows

__all__ = ["MemoryRepository", "MemoryRows"]
