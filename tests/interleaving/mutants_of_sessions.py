"""Mutants of sessions and their settings, of full queues of notifications, and of settlements past locks."""

from __future__ import annotations

from typing import Final

from tests.interleaving.mutant_runner import Mutant

SESSION: Final = ("tests/postgres/test_session.py",)
NOTIFICATIONS: Final = ("tests/postgres/test_notify_queue.py",)

SESSIONS: Final = (
    Mutant(
        "the database's style of dates",
        "session.py",
        '    "datestyle": "ISO",\n',
        "",
        SESSION,
    ),
    Mutant(
        "an application's settings stay on its connection",
        "connections.py",
        "await connection.execute(_RESET, prepare=False)",
        "pass",
        SESSION,
    ),
    Mutant(
        "locks are awaited without a limit",
        "session.py",
        'f"{LOCK_SECONDS * 1000:.0f}"',
        '"0"',
        SESSION,
    ),
    Mutant(
        "settings are lost behind a pooler",
        "session.py",
        "if all(kept[name] == RELIED_ON[name] for name in _SIGNS):",
        "if kept:",
        SESSION,
    ),
    Mutant(
        "transactions without settings behind a pooler",
        "connection_pool.py",
        "settings = self._ours if own else self._elsewhere",
        "settings = None if own else self._elsewhere",
        SESSION,
    ),
    Mutant(
        "applications get our settings",
        "connection_pool.py",
        "settings = self._ours if own else self._elsewhere",
        "settings = self._ours",
        SESSION,
    ),
    Mutant(
        "a full notification queue fails what is written",
        "connection_pool.py",
        "if not (is_worth_repeating(error) or self._notify.is_full(error)):",
        "if not is_worth_repeating(error):",
        NOTIFICATIONS,
    ),
    Mutant(
        "a full notification queue fails commits",
        "connection_pool.py",
        'text = statement(name, self.schema, limit, "unless full")',
        "text = statement(name, self.schema, limit)",
        NOTIFICATIONS,
    ),
    Mutant(
        "notifications end with the first full queue",
        "notify_queue.py",
        'return "unless full" if now < self._guarded_until else "always"',
        'return "never"',
        NOTIFICATIONS,
    ),
    Mutant(
        "any error refuses an outcome",
        "error_mapping.py",
        "return state.startswith(_OF_VALUES)",
        "return True",
        ("tests/postgres/test_refused_outcomes.py",),
    ),
    Mutant(
        "locked jobs are waited for",
        "sql/lock_unlocked.sql",
        "for no key update skip locked",
        "for no key update",
        ("tests/conformance/test_locks.py",),
    ),
)
