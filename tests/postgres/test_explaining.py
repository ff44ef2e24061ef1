"""What counts as reading a table from end to end, and how many rows were looked at."""

from __future__ import annotations

from typing import Any

from tests.cases import check_each
from tests.postgres.explaining import Plan

JOB = {"Relation Name": "job", "Actual Loops": 1}
WHOLE = {"Node Type": "Bitmap Index Scan", "Parent Relationship": "Member"}
AIMED = {**WHOLE, "Index Cond": "(waitsfor = ANY (ARRAY[ended.id]))"}
BESIDES = {"Node Type": "Result", "Parent Relationship": "SubPlan"}


def of(kind: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"Node Type": kind, "Parent Relationship": "Outer", "Plans": list(parts)}


def bitmap(*parts: dict[str, Any]) -> dict[str, Any]:
    return {**JOB, **of("Bitmap Heap Scan", *parts)}


def test_full_scans_are_distinguished_from_index_scans() -> None:
    def check(node: dict[str, Any], full: bool) -> None:  # noqa: FBT001 - a column
        assert bool(Plan([node], 1).full_scans()) is full

    check_each(
        [
            ({**JOB, "Node Type": "Seq Scan"}, True),
            ({**JOB, "Node Type": "Index Scan"}, True),
            ({**JOB, "Node Type": "Index Scan", "Index Cond": "(id = $1)"}, False),
            ({**JOB, "Node Type": "Tid Scan", "TID Cond": "(ctid = $1)"}, False),
            ({**JOB, "Node Type": "Seq Scan", "Actual Loops": 0}, False),
            (bitmap(AIMED), False),
            (bitmap(WHOLE), True),
            (bitmap(AIMED, BESIDES), False),
            (bitmap(of("BitmapOr", AIMED, AIMED)), False),
            (bitmap(of("BitmapOr", AIMED, WHOLE)), True),
            (bitmap(of("BitmapAnd", WHOLE, AIMED)), True),
        ],
        check,
    )


def test_rows_removed_by_a_filter_are_counted() -> None:
    removed = {"Rows Removed by Filter": 3, "Rows Removed by Index Recheck": 5}
    one = {**JOB, "Node Type": "Index Scan", "Actual Rows": 1}
    scans = [one, {**bitmap(AIMED), **removed, "Actual Rows": 2, "Actual Loops": 7}]
    assert Plan(scans, 1).most_read() == 70
