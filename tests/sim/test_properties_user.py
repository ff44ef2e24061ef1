"""Properties of an application's own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.sim.histories import ACTIVE, COMPLETED, History
from zeke_sim.properties import always, eventually, sometimes, unique_effects

if TYPE_CHECKING:
    from zeke_sim.past import Past


def few_run(past: Past) -> bool:
    return len(past.active["a"]) <= 1


def all_done(past: Past) -> bool:
    return all(row.state is COMPLETED for row in past.live.values())


def test_what_must_always_be_so() -> None:
    h = History()
    one, two = h.send(), h.send()
    h.complete(one)
    h.claim(two)
    assert h.verdict(always("few run", few_run)) is None
    h.claim(h.send())
    violation = h.verdict(always("few run", few_run))
    assert violation is not None
    assert violation.text == "it is not so any more"


def test_an_assertion_says_what_is_not_so() -> None:
    def check(past: Past) -> bool:
        assert not past.active["a"], "somebody works"
        return True

    h = History()
    h.claim(h.send())
    violation = h.verdict(always("nobody works", check))
    assert violation is not None
    assert violation.rule == "nobody works"
    assert violation.text.startswith("somebody works")


def test_what_must_come_to_be() -> None:
    h = History()
    job = h.send()
    violation = h.verdict(eventually("all is done", all_done))
    assert violation is not None
    assert violation.text == "it never came to be so"
    h.complete(job)
    assert h.verdict(eventually("all is done", all_done)) is None


def test_what_is_sometimes_so_is_counted_once_a_run() -> None:
    hits: Counter[str] = Counter()
    busy = sometimes("somebody works", lambda past: bool(past.active["a"]), hits)
    never = sometimes("somebody failed", lambda past: any(r.failures for r in past.live.values()), hits)
    for _ in range(2):
        h = History()
        h.complete(h.send())
        h.complete(h.send())
        assert h.verdict(busy, never) is None
    assert hits == {"somebody works": 2, "somebody failed": 0}


def test_effects_that_happen_once() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.effect(job, "mail 1")
    h.effect(job, "mail 2")
    assert h.verdict(unique_effects()) is None
    h.effect(job, "mail 1")
    violation = h.verdict(unique_effects())
    assert violation is not None
    assert violation.text.startswith("'mail 1' by attempt 1 on w1, and by attempt 1 of job")
    assert h.rows[job].state is ACTIVE


def test_effects_that_are_the_same_by_a_key_of_ones_own() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.effect(job, "mail to a")
    h.effect(job, "log line")
    h.effect(job, "log line")
    h.effect(job, "mail to b")
    mails = unique_effects("one mail", key=lambda effect: effect.job if "mail" in effect.key else None)
    violation = h.verdict(mails)
    assert violation is not None
    assert violation.rule == "one mail"
