"""The memory storage: the reference for what a storage does, and what simulations run on."""

from zeke_queue.storage.memory.store import MemoryStorage, Snapshot

__all__ = ["MemoryStorage", "Snapshot"]
