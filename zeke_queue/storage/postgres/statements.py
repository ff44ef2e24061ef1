"""SQL statements from files: loaded, adapted to a schema and declared literal in this one place.

``{schema}`` is a name checked by ``core.names``, and ``{limit}`` a number, so the result is as safe as the
file; parameters stay parameters.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

if TYPE_CHECKING:
    from typing import LiteralString

_HERE: Final = resources.files("zeke_queue.storage.postgres")
PLAIN: Final[dict[str, bool | int | None]] = {
    **dict.fromkeys(("start_at", "singleton_key", "slot_seconds", "policy", "group_key"), None),
    **dict.fromkeys(("parent", "meta", "retry_delay_max"), None),
    **dict.fromkeys(("delay", "slot_offset"), 0),
    "fresh": True,
}
"""The parameters of ``insert_one`` that ``insert_plain`` does not have, with their values in a plain job."""


VARIANTS: Final = {
    "resume_parents_for_sure": ("resume_parents", {" skip locked": ""}),
    "find_archived": (
        "find",
        {
            ".job where (": ".archive where (",
            ".job as kept": ".archive as kept",
            "null::timestamptz as archivedon": "archivedon",
        },
    ),
    "insert_plain": (
        "insert_one",
        {f"%({name})s": {None: "null", 0: "0", True: "true"}[value] for name, value in PLAIN.items()}
        | {"%(always)s": "false", "on conflict do nothing": ""},
    ),
    "pgboss/claim_active": ("pgboss/claim", {"job.state < 'active'": "job.state <= 'active'"}),
    "pgboss/claimed_given": (
        "pgboss/claimed",
        {
            "as job where": "as job inner join unnest(%(names)s::text[], %(ids)s::uuid[]) as given (name, id)"
            " on job.name = given.name and job.id = given.id where"
        },
    ),
    "pgboss/counts_archived": ("pgboss/counts", {".job as job": ".archive as job"}),
    "pgboss/fates_archived": ("pgboss/fates", {".job as job": ".archive as job"}),
    "pgboss/ended_archived": ("pgboss/ended", {".job as job": ".archive as job"}),
}
"""Statements derived from another one by leaving out what a case does not need, so that the server can
simplify them when it plans, not at each run: which text replaces which. ``find_archived`` lists the archive,
``insert_plain`` inserts one plain job outside a transaction; ``resume_parents_for_sure`` waits for locks, so
its transaction must hold none. Those in ``pgboss/`` run on the tables of pg-boss 10 to 12."""

Notify: TypeAlias = Literal["always", "unless full", "never"]
"""When a statement sends its notifications: always, unless the server's queue is nearly full, or never.

A commit whose notifications do not fit into the queue fails as a whole, while a lost notification costs only
the time until the next poll.
"""

NOTIFY_USAGE_MAX: Final = 0.75
"""The used share of the server's queue above which "unless full" sends none."""

_NOTIFY: Final = re.compile(r"pg_notify\((%\(\w+\)s, [\w.:]+)\)")
_NOTIFICATIONS: Final[dict[Notify, str]] = {
    "always": r"pg_notify(\1)",
    "unless full": rf"case when pg_notification_queue_usage() < {NOTIFY_USAGE_MAX} then pg_notify(\1) end",
    "never": r"nullif(\1)",
}

_COMMENT: Final = re.compile(r"--.*$", re.MULTILINE)


class Migration(NamedTuple):
    """A numbered migration from one version of the tables to the next."""

    number: int
    name: str
    text: str

    def fitted(self, schema: str) -> str:
        """Return its SQL for a schema."""
        return self.text.replace("{schema}", schema)


@cache
def statement(name: str, schema: str, limit: int | None = None, notify: Notify = "always") -> LiteralString:
    """Return the statement of a file of ``sql/``.

    Comments and line breaks are removed: drivers cache statements by their text, and only short ones.

    Args:
        name: the file's name without ``.sql``, or the name of a variant.
        schema: a name returned by ``core.names.schema_name``.
        limit: the value of ``{limit}``, where the plan needs a literal.
        notify: whether it sends its notifications.
    """
    file, shortened = VARIANTS.get(name, (name, {}))
    text = _COMMENT.sub("", (_HERE / "sql" / f"{file}.sql").read_text(encoding="utf-8"))
    text = " ".join(text.split()).removesuffix(";").replace("{schema}", schema)
    for needless, instead in shortened.items():
        text = text.replace(needless, instead)
    text = _NOTIFY.sub(_NOTIFICATIONS[notify], text)
    if limit is not None:
        text = text.replace("{limit}", str(int(limit)))
    return cast("LiteralString", text)


@cache
def names() -> tuple[str, ...]:
    """Return the names of all statements."""
    files = (path.name for path in (_HERE / "sql").iterdir())
    return tuple(sorted(name.removesuffix(".sql") for name in files if name.endswith(".sql")))


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations in order."""
    found: list[Migration] = []
    for path in (_HERE / "migrations").iterdir():
        if path.name.endswith(".sql"):
            number, _, name = path.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), name, path.read_text(encoding="utf-8")))
    return tuple(sorted(found))
