"""What the server does for a statement of ours: prepared as a driver does, with a generic plan, and run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, cast

import psycopg
from psycopg import ClientCursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zeke_queue.storage.postgres.session import PLAN_FOR_VALUES, RELIED_ON, options
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.postgres.many_jobs import Connection


Node = dict[str, Any]

# The rows that a node reads, without computed ones.
_SOURCES = ("Outer", "Member")


class Plan(NamedTuple):
    """A plan that was run: its nodes, and how many pages were looked at."""

    nodes: list[Node]
    pages: int

    def scans(self, table: str = "job") -> list[Node]:
        return [
            node for node in self.nodes if node.get("Relation Name") == table and "Scan" in node["Node Type"]
        ]

    def full_scans(self) -> list[str]:
        """Return how the job table is read from end to end, by the table or by an index."""
        return [
            node["Node Type"] for node in self.scans() if node["Actual Loops"] > 0 and not _is_aimed(node)
        ]

    def most_sorted(self) -> int:
        """Return the number of rows of the largest sort."""
        sorts = [node for node in self.nodes if node["Node Type"] in ("Sort", "Incremental Sort")]
        return max((int(node["Plans"][0]["Actual Rows"]) for node in sorts), default=0)

    def most_read(self, table: str = "job") -> int:
        """Return how many rows of a table were looked at by the busiest scan."""
        return max(int(_rows(node) * node["Actual Loops"]) for node in self.scans(table))


def _is_aimed(node: Node) -> bool:
    """Return whether a scan looks up rows by index; ``most_read`` gives their number."""
    if node["Node Type"] in ("Bitmap Heap Scan", "BitmapAnd", "BitmapOr"):
        return all(_is_aimed(part) for part in node["Plans"] if part["Parent Relationship"] in _SOURCES)
    return bool({"Index Cond", "TID Cond"} & node.keys())


def _rows(node: Node) -> float:
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    return node["Actual Rows"] + sum(node.get(name, 0) for name in removed)


def connect(dsn: str) -> Connection:
    """Connect as the storage does: settings included, under which it plans."""
    settings = f"{conninfo_to_dict(dsn).get('options') or ''} {options(RELIED_ON)}"
    return psycopg.connect(make_conninfo(dsn, options=settings), autocommit=True)


def prepare(sql: Connection, name: str, limit: int | None = None) -> tuple[str, list[str]]:
    """Prepare a statement on the server, unless it is; returns its name there, and its parameters."""
    text = statement(name, "pgboss", limit)
    parameters = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    there = name if limit is None else f"{name}_{limit}"
    if not sql.execute("select 1 from pg_prepared_statements where name = %s", [there]).fetchall():
        numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${parameters.index(found[1]) + 1}", text)
        sql.execute(f"prepare {there} as {numbered.replace('%%', '%')}".encode(), prepare=False)
    return there, parameters


def explain(sql: Connection, name: str, values: Mapping[str, Any], *, limit: int | None = None) -> Plan:
    """Run a statement under its generic plan, return the plan, and roll back.

    The plan is made at the first call for a statement, and kept.
    """
    there, parameters = prepare(sql, name, limit)
    given = {
        "now": None,
        "ids": None,
        "without": [],
        "always": False,
        "work_channel": "work",
        "job_channel": "job",
        **values,
    }
    marks = ", ".join(f"%({parameter})s" for parameter in parameters)
    asked = f"explain (analyze, buffers, timing off, format json) execute {there}"
    text = cast("LiteralString", f"{asked}({marks})" if marks else asked)
    with sql.transaction(force_rollback=True):
        row = ClientCursor(sql).execute(text, given).fetchone()
    return plan_of(row)


def explain_look(sql: Connection, name: str, values: Mapping[str, Any]) -> Plan:
    """Run a statement of ours that is planned for the given values, and return its plan."""
    with sql.transaction():
        for setting in PLAN_FOR_VALUES:
            sql.execute(setting)
        cursor = sql.execute(
            f"explain (analyze, buffers, timing off, format json) {statement(name, 'pgboss')}",
            {"now": None, **values},
            prepare=True,
        )
        row = cursor.fetchone()
    return plan_of(row)


def plan_of(row: tuple[Any, ...] | None) -> Plan:
    """Return the plan in an answer to EXPLAIN."""
    assert row is not None
    top = row[0][0]["Plan"]
    return Plan(list(_nodes(top)), top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for part in node.get("Plans", ()):
        yield from _nodes(part)
