"""Properties of an application's own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.sim.histories import COMPLETED, History
from zeke_sim.properties import always, eventually, sometimes, unique_effects

if TYPE_CHECKING:
    from zeke_sim.history.state import RunState


def few_run(state: RunState) -> bool:
    return len(state.active["a"]) <= 1


def all_done(state: RunState) -> bool:
    return all(row.state is COMPLETED for row in state.live.values())


def test_always(h: History) -> None:
    one, two = h.send(), h.send()
    h.complete(one)
    h.claim(two)
    assert h.holds(always("few run", few_run))
    h.claim(h.send())
    assert h.breaks(always("few run", few_run)) == "it no longer holds"


def test_failed_assertion_of_property_is_its_text(h: History) -> None:
    def check(state: RunState) -> bool:
        assert not state.active["a"], "a job runs"
        return True

    h.claim(h.send())
    assert h.breaks(always("no job runs", check)).startswith("a job runs")


def test_eventually(h: History) -> None:
    job = h.send()
    assert h.breaks(eventually("all is done", all_done)) == "it never came to hold"
    h.complete(job)
    assert h.holds(eventually("all is done", all_done))


def test_sometimes_is_counted_once_a_run() -> None:
    hits: Counter[str] = Counter()
    busy = sometimes("a job runs", lambda state: bool(state.active["a"]), hits)
    never = sometimes("a job failed", lambda state: any(r.failures for r in state.live.values()), hits)
    for _ in range(2):
        h = History()
        h.complete(h.send())
        h.complete(h.send())
        assert h.verdict(busy, never) is None
    assert hits == {"a job runs": 2, "a job failed": 0}


def test_unique_effects(h: History) -> None:
    job = h.send_claimed()
    h.effect(job, "mail 1")
    h.effect(job, "mail 2")
    assert h.holds(unique_effects())
    h.effect(job, "mail 1")
    assert h.breaks(unique_effects()).startswith("'mail 1' by attempt 1 on w1, and by attempt 1 of job")


def test_unique_effects_by_a_key_of_the_application(h: History) -> None:
    job = h.send_claimed()
    for key in ("mail to a", "log line", "log line"):
        h.effect(job, key)
    mails = unique_effects("one mail", key=lambda effect: effect.job if "mail" in effect.key else None)
    assert h.holds(mails)
    h.effect(job, "mail to b")
    assert h.breaks(mails)
