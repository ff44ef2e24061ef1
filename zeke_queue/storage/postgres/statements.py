"""The statements, which are files: loaded, fitted to a schema and declared literal in this one place.

``{schema}`` is a name that ``core.names`` has checked, and ``{limit}`` a number, so what comes out is as safe
as what stands in the file; parameters stay parameters.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple, cast

if TYPE_CHECKING:
    from typing import LiteralString

_HERE: Final = resources.files("zeke_queue.storage.postgres")
PLAIN: Final[dict[str, bool | int | None]] = {
    **dict.fromkeys(("start_at", "singleton_key", "slot_seconds", "policy", "group_key"), None),
    **dict.fromkeys(("parent", "meta", "retry_delay_max"), None),
    **dict.fromkeys(("delay", "slot_offset"), 0),
    "fresh": True,
}
"""What a plain job has in the parameters of ``insert_one`` that ``insert_plain`` has not."""

VARIANTS: Final = {
    "wake_parents_for_sure": ("wake_parents", {" skip locked": ""}),
    "insert_plain": (
        "insert_one",
        {f"%({name})s": {None: "null", 0: "0", True: "true"}[value] for name, value in PLAIN.items()}
        | {"%(always)s": "false", "on conflict do nothing": ""},
    ),
}
"""Statements that are another one without what the case at hand does not need, so that the server finds that
out when it plans, instead of each time: which text is replaced by which. ``insert_plain`` inserts a plain
job, by itself and not in a transaction; ``wake_parents_for_sure`` waits for locks, and must hold none."""

_COMMENT: Final = re.compile(r"--.*$", re.MULTILINE)


class Migration(NamedTuple):
    """A numbered step from one version of the tables to the next."""

    number: int
    name: str
    text: str

    def fitted(self, schema: str) -> str:
        """Return its SQL for a schema."""
        return self.text.replace("{schema}", schema)


@cache
def statement(name: str, schema: str, limit: int | None = None) -> LiteralString:
    """Return the statement of a file of ``sql/``.

    Comments and line breaks are left out: drivers keep what they know of a statement by its text, and only if
    that is short.

    Args:
        name: the file's name without ``.sql``; or that of a variant.
        schema: a name as ``core.names.schema_name`` returns it.
        limit: what replaces ``{limit}``, where a literal is needed for the plan.
    """
    file, shortened = VARIANTS.get(name, (name, {}))
    text = _COMMENT.sub("", (_HERE / "sql" / f"{file}.sql").read_text(encoding="utf-8"))
    for needless, instead in shortened.items():
        text = text.replace(needless, instead)
    text = " ".join(text.split()).removesuffix(";").replace("{schema}", schema)
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
