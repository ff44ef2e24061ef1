"""The scenario of Zeke's first tasks: situations that occur in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cases import check_each
from tests.sim.runs import answers, inserted, of, outcomes
from zeke_queue.core import jsonb
from zeke_queue.model import RowState
from zeke_sim.history.events import Change, Ended, Fault, Lived

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_sim.history.events import Event


def histories(name: str) -> list[Sequence[Event]]:
    """Return the histories of a scenario's runs."""
    return [outcome.events for outcome in outcomes(name)]


def web_replies_make_jobs_retry_and_fail() -> None:
    told = {
        jsonb.loads(row.after.output)["type"]
        for events in histories("slice")
        for row in of(events, Change, table="job")
        if row.after and row.after.output and row.after.state in {RowState.RETRY, RowState.FAILED}
    }
    assert {"Retry", "Fail"} <= told


def pulls_have_both_reasons_and_find_unchanged_feeds() -> None:
    reasons: set[Any] = set()
    unchanged = False
    for events in histories("slice"):
        for ended in of(events, Ended, task="ingest-source", how="returned"):
            unchanged |= bool(ended.value.get("notModified"))
        rows = inserted(events).values()
        reasons |= {jsonb.loads(row.data or "")["reason"] for row in rows if row.name == "ingest-pull"}
    assert reasons == {"schedule", "manual"}
    assert unchanged


def workers_die_in_fetches_and_users_retry_jobs() -> None:
    died = any(
        life.at == fault.at and life.node == fault.node
        for events in histories("slice")
        for fault in of(events, Fault)
        if "fetch-content" in fault.address
        for life in of(events, Lived, what="killed")
    )
    assert died
    assert any(
        answer.outcome == "ok" and answer.result
        for events in histories("slice")
        for _, answer in answers(events, "retry")
    )


@pytest.mark.nightly
def test_scenario_violates_no_property_and_its_situations_occur() -> None:
    assert [outcome.violation for outcome in outcomes("slice") if outcome.violation] == []
    situations = (
        web_replies_make_jobs_retry_and_fail,
        pulls_have_both_reasons_and_find_unchanged_feeds,
        workers_die_in_fetches_and_users_retry_jobs,
    )
    check_each({one.__name__: one for one in situations}, lambda occurs: occurs())
