"""Mutants of migrations of tables in use: whom they make wait, and what a killed one leaves behind."""

from __future__ import annotations

from tests.mutants.patching import tested

STEPS = "zeke_queue.storage.postgres.migration_steps"
TESTS = "tests/postgres/test_adoption.py"

MIGRATION = (
    tested(
        "vacuum-awaited-with-a-strong-lock",
        STEPS,
        '        yield f"lock table {listed} in {CONCURRENT} mode"\n',
        "        pass\n",
        "While a migration waits for a vacuum, every statement on the table waits behind it.",
        TESTS,
        "-k",
        "vacuum",
    ),
    tested(
        "strong-locks-awaited-for-long",
        STEPS,
        "{LOCK_SECONDS * 1000:.0f}ms'\"\n        yield",
        "3s'\"\n        yield",
        "Statements wait for 3 s behind a migration that waits for a report.",
        TESTS,
        "-k",
        "strong_locks",
    ),
    tested(
        "running-build-dropped",
        STEPS,
        "            _await_builds(connection, schema)\n",
        "",
        "A migration drops the index that a killed one still builds, and the server aborts one of them.",
        TESTS,
        "-k",
        "killed_migration",
    ),
    tested(
        "check-of-pgboss-accepts-other-columns",
        "zeke_queue.storage.postgres.pgboss_check",
        "            if found.get(name) != declared:",
        "            if name not in found:",
        "A check says that pg-boss 9 works, and its inserts fail for a missing default.",
        TESTS,
        "-k",
        "check_names",
    ),
)
