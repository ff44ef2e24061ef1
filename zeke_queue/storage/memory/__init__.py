"""The memory storage: the reference for the behaviour of storages, and the database of simulations."""

from zeke_queue.storage.memory.store import MemoryStorage, Snapshot

__all__ = ["MemoryStorage", "Snapshot"]
