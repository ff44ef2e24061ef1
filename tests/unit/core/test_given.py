"""Filters of lists, as storages take them: a shape that callers may give loosely, made fast once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from zeke_queue.core.given import check_filter
from zeke_queue.errors import BadOption
from zeke_queue.model import CARRIED, JobFilter, JobState

SEVERAL: dict[str, tuple[Any, ...]] = {
    "names": ("mail", "clean"),
    "states": (JobState.CREATED, JobState.RETRY),
    "opaque": ("mail",),
    "ids": (UUID(int=1), UUID(int=2)),
    "without": CARRIED,
}


@pytest.mark.parametrize("field", SEVERAL)
@pytest.mark.parametrize("kind", [iter, list, tuple])
def test_what_may_be_several_is_taken_from_whatever_can_be_gone_through_once(field: str, kind: Any) -> None:
    given: dict[str, Any] = {field: kind(SEVERAL[field])}
    whole: dict[str, Any] = {field: SEVERAL[field]}
    assert check_filter(JobFilter(**given)) == JobFilter(**whole)


def test_no_ids_are_none_and_ids_that_are_not_given_are_all() -> None:
    nobody: Any = iter(())
    assert check_filter(JobFilter(ids=nobody)).ids == ()
    assert check_filter(JobFilter()).ids is None


@pytest.mark.parametrize("wrong", ["mail", None, (5,), ("a\0",)])
def test_opaque_queues_are_named_as_others_are(wrong: Any) -> None:
    with pytest.raises(BadOption, match=r"^opaque: .*; give"):
        check_filter(JobFilter(opaque=wrong))


def test_a_filter_s_fields_keep_the_places_they_are_given_by() -> None:
    """As in ``JobFilter(("mail",), (JobState.CREATED,))``: what is new comes behind what there was."""
    first = JobFilter(("mail",), (JobState.CREATED,), UUID(int=1), True)  # noqa: FBT003 - by its place
    assert first == JobFilter(names=("mail",), states=(JobState.CREATED,), parent=UUID(int=1), archived=True)
    assert JobFilter.__match_args__[-4:] == ("limit", "ids", "without", "bytes_max")
