"""Filters of lists, as storages take them: a shape that callers may give loosely, made fast once."""

from __future__ import annotations

from itertools import product
from typing import Any
from uuid import UUID

from tests.cases import check_each
from tests.unit.tables import check_refused
from zeke_queue.core.validation import check_query
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import CARRIED, JobQuery, JobStatus

SEVERAL: dict[str, tuple[Any, ...]] = {
    "names": ("mail", "clean"),
    "status": (JobStatus.QUEUED, JobStatus.FAILED),
    "opaque": ("mail",),
    "ids": (UUID(int=1), UUID(int=2)),
    "without": CARRIED,
}


def test_filter_accepts_any_iterable() -> None:
    def check(field: str, kind: Any) -> None:
        given: dict[str, Any] = {field: kind(SEVERAL[field])}
        whole: dict[str, Any] = {field: SEVERAL[field]}
        assert check_query(JobQuery(**given)) == JobQuery(**whole)

    check_each(product(SEVERAL, [iter, list, tuple]), check)


def test_empty_ids_select_no_jobs_and_missing_ids_all() -> None:
    nobody: Any = iter(())
    assert check_query(JobQuery(ids=nobody)).ids == ()
    assert check_query(JobQuery()).ids is None


def test_opaque_must_be_queue_names() -> None:
    check_refused(
        lambda wrong: check_query(JobQuery(opaque=wrong)),
        InvalidOptionError,
        ["mail", None, (5,), ("a\0",)],
        r"^opaque: must be .*, got ",
    )


def test_fields_of_a_job_query_keep_their_positions() -> None:
    """As in ``JobQuery(("mail",), (JobStatus.QUEUED,))``: new fields come last."""
    first = JobQuery(("mail",), (JobStatus.QUEUED,), UUID(int=1), True)  # noqa: FBT003 - by its place
    assert first == JobQuery(names=("mail",), status=(JobStatus.QUEUED,), parent=UUID(int=1), archived=True)
    assert JobQuery.__match_args__[-5:] == ("limit", "ids", "without", "bytes_max", "parents")
