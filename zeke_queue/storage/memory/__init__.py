"""The storage in memory: the reference for every rule, used by simulations.

``store`` and ``verbs`` implement the port over ``tables`` and ``rows``; ``unit_of_work``, ``locks`` and
``transaction`` make transactions. ``claims``, ``transitions``, ``uniqueness`` and ``schedules`` apply the
rules, ``reader`` and ``overview`` answer lists and figures, and ``access`` keeps keys, sessions and rate
limits.
"""

from zeke_queue.storage.memory.store import MemoryStorage, Snapshot

__all__ = ["MemoryStorage", "Snapshot"]
