"""What counts as reading a table from end to end, on plans as the server writes them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.postgres.explaining import Plan

JOB = {"Relation Name": "job", "Actual Loops": 1}
AIMED = {"Node Type": "Bitmap Index Scan", "Index Cond": "(waitsfor = ANY (ARRAY[ended.id]))"}
WHOLE = {"Node Type": "Bitmap Index Scan"}


def either(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"Node Type": "BitmapOr", "Plans": list(parts)}


def bitmap(part: dict[str, Any]) -> dict[str, Any]:
    return {**JOB, "Node Type": "Bitmap Heap Scan", "Plans": [part]}


@pytest.mark.parametrize(
    ("node", "full"),
    [
        ({**JOB, "Node Type": "Seq Scan"}, True),
        ({**JOB, "Node Type": "Index Scan"}, True),
        ({**JOB, "Node Type": "Index Scan", "Index Cond": "(id = $1)"}, False),
        ({**JOB, "Node Type": "Tid Scan", "TID Cond": "(ctid = $1)"}, False),
        ({**JOB, "Node Type": "Seq Scan", "Actual Loops": 0}, False),
        (bitmap(AIMED), False),
        (bitmap(WHOLE), True),
        (bitmap(either(AIMED, AIMED)), False),
        (bitmap(either(AIMED, WHOLE)), True),
    ],
)
def test_a_full_scan(node: dict[str, Any], *, full: bool) -> None:
    assert bool(Plan([node], 1).full_scans()) is full
