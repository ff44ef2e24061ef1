"""Valid names of queues (and so of tasks and schedules) and of schemas; hints for unknown names.

Names appear in URLs, log lines, metric labels and shell commands, so they are plain ASCII; and in an index,
so they are short.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_queue.core.failure import shown
from zeke_queue.errors import InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE_NAME_MAX: Final = 200
SCHEMA_NAME_MAX: Final = 50

RESERVED_PREFIXES: Final = ("__pgboss__", "__state__")
"""Prefixes of pg-boss's own queues: its maintenance, its cron, its completion jobs."""

PRIVATE_PREFIX: Final = "__private__:"
"""Prefix of private queues; their names have no other place in an index than side by side."""

RESERVED_WORDS: Final = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate
    collation column concurrently constraint create cross current_catalog current_date current_role
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end
    except false fetch for foreign freeze from full grant group having ilike in initially inner intersect into
    is isnull join lateral leading left like limit localtime localtimestamp natural not notnull null offset on
    only or order outer overlaps placing primary references returning right select session_user similar some
    symmetric system_user table tablesample then to trailing true union unique user using variadic verbose
    when where window with
    """.split()  # noqa: SIM905 - a list would have a hundred lines
)
"""Words that can't name a schema without quotes.

Source: ``pg_get_keywords()`` of PostgreSQL 17, codes R and T.
"""

_QUEUE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+-]*", re.ASCII)
_PRIVATE: Final = re.compile(PRIVATE_PREFIX + r"([0-9a-f]{32}):(.+)", re.ASCII)
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def queue_name(name: str, field: str = "name") -> str:
    """Return the name if it is valid for a queue, a task or a schedule.

    Args:
        name: the name.
        field: the argument or option that the error names.

    Raises:
        InvalidNameError: it is not a string, empty, over 200 characters, has a character other than ASCII
            letters, digits and ``_ . : / @ + -``, begins with punctuation other than ``_``, or has a prefix
            that pg-boss reserves, or that of private queues.

    >>> queue_name("ingest-pull")
    'ingest-pull'
    """
    if not _text(name, field):
        raise InvalidNameError(f"{field}: must not be empty")
    if _QUEUE.fullmatch(name) is None:
        raise InvalidNameError(
            f"{field}: must be ASCII letters, digits and _ . : / @ + -, beginning with a letter, a digit or"
            f" _, got {shown(name)}"
        )
    if len(name) > QUEUE_NAME_MAX:
        raise InvalidNameError(
            f"{field}: must have at most {QUEUE_NAME_MAX} characters, got {len(name)} in {shown(name)}"
        )
    for prefix in RESERVED_PREFIXES:
        if name.startswith(prefix):
            raise InvalidNameError(
                f"{field}: must not begin with {prefix!r}, which pg-boss reserves, got {shown(name)}"
            )
    if name.startswith(PRIVATE_PREFIX):
        raise InvalidNameError(
            f"{field}: must not begin with {PRIVATE_PREFIX!r}, which is for the private queues of commands,"
            f" got {shown(name)}; pass the name of the task"
        )
    return name


def private_queue(task: str, owner: UUID) -> str:
    """Return the name of a process's private queue for a task: other processes do not serve it."""
    return f"{PRIVATE_PREFIX}{owner.hex}:{task}"


def task_of(queue: str) -> str:
    """Return the name under which jobs of a queue are known: that of the task, if the queue is private.

    >>> task_of("__private__:0123456789abcdef0123456789abcdef:mail"), task_of("mail@example")
    ('mail', 'mail@example')
    """
    private = _PRIVATE.fullmatch(queue)
    return private[2] if private else queue


def owner_of(queue: str) -> UUID | None:
    """Return what identifies the process of a private queue; None for other queues."""
    private = _PRIVATE.fullmatch(queue)
    return UUID(private[1]) if private else None


def schema_name(name: str) -> str:
    """Return the name of a schema, folded to lower case as Postgres folds an unquoted one.

    Raises:
        InvalidNameError: it is not a string, or not an ASCII word of 1 to 50 characters that begins with a
            letter or ``_``, or it begins with ``pg_``, which Postgres reserves for itself, or it is a
            reserved word of SQL.

    Source: pg-boss 9 allows word characters, at most 50.

    >>> schema_name("PgBoss")
    'pgboss'
    """
    folded = _text(name, "schema").lower()
    if len(name) > SCHEMA_NAME_MAX or not name.isascii() or _SCHEMA.fullmatch(folded) is None:
        raise InvalidNameError(
            f"schema: must be 1 to {SCHEMA_NAME_MAX} ASCII letters, digits and _, beginning with a letter or"
            f" _, got {shown(name)}"
        )
    if folded.startswith("pg_"):
        raise InvalidNameError(
            f"schema: must not begin with 'pg_', which Postgres reserves, got {shown(name)}"
        )
    if folded in RESERVED_WORDS:
        raise InvalidNameError(f"schema: must not be a reserved word of SQL, got {shown(name)}")
    return folded


def _text(name: object, field: str) -> str:
    if not isinstance(name, str):
        raise InvalidNameError(f"{field}: must be a string, got {shown(name)}")
    return name


def did_you_mean(name: object, known: Sequence[str], otherwise: str, *, cutoff: float = 0.6) -> str:
    """Return a hint to names like an unknown one, or ``otherwise`` without any.

    >>> did_you_mean("hourli", ["daily", "hourly"], "there is no such name")
    "did you mean 'hourly'?"
    """
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else otherwise
