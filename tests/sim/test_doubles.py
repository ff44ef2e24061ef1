"""Doubles: they answer by their script, record every call, and refuse calls without an answer."""

from __future__ import annotations

from contextlib import suppress

import pytest

from zeke_sim import Scripted, Unscripted


async def test_answers_are_used_up_in_their_order() -> None:
    bank = Scripted("bank")
    bank.on("charge").answers(1)
    bank.on("charge").answers(2)
    assert [await bank.charge(10), await bank.charge(10)] == [1, 2]
    bank.assert_all_used()
    with pytest.raises(
        Unscripted, match=r"bank\.charge\(10\): no answer was written for this call; no answers are left"
    ):
        await bank.charge(10)


async def test_call_gets_the_first_matching_answer() -> None:
    bank = Scripted("bank")
    bank.on("charge", 5, key="a").answers("five")
    bank.on("charge", key="b").answers("keyed")
    assert await bank.charge(7, key="b") == "keyed"
    with pytest.raises(Unscripted, match=r"answers are left for charge\(5, key='a'\)"):
        await bank.charge(5, key="b")
    assert await bank.charge(5, key="a", note="more") == "five"


async def test_answer_may_be_an_error_a_function_or_permanent() -> None:
    bank = Scripted("bank")
    bank.on("balance").does(lambda account: account * 2).always()
    bank.on("charge").raises(TimeoutError("late"))
    assert [await bank.balance(n) for n in (1, 2, 3)] == [2, 4, 6]
    with pytest.raises(TimeoutError, match="late"):
        await bank.charge()
    bank.assert_all_used()


async def test_answer_function_may_be_async() -> None:
    async def balance(account: int) -> int:
        return account * 2

    bank = Scripted("bank")
    bank.on("balance").does(balance)
    assert await bank.balance(2) == 4


async def test_call_without_an_answer_is_reported_although_its_error_was_caught() -> None:
    bank = Scripted("bank")
    with suppress(Unscripted):
        await bank.charge(1)
    with pytest.raises(AssertionError, match=r"bank: no answer was written for charge\(1\)"):
        bank.assert_all_used()


async def test_calls_are_recorded_and_shown() -> None:
    told: list[str] = []
    bank = Scripted("bank", effect=lambda call: told.append(str(call)))
    bank.on("charge").answers().always()
    await bank.charge(1, key="a")
    await bank.charge(2)
    assert [call.args for call in bank.called("charge")] == [(1,), (2,)]
    assert told == ["charge(1, key='a')", "charge(2)"]
    assert bank.called("refund") == []


def test_sync_client_is_scripted() -> None:
    bank = Scripted("bank", sync=True)
    bank.on("charge").answers("paid")
    assert bank.charge() == "paid"


def test_unused_answer_is_reported() -> None:
    bank = Scripted("bank")
    bank.on("charge", 1).answers()
    with pytest.raises(AssertionError, match=r"bank: never called: charge\(1\); nothing was called"):
        bank.assert_all_used()


async def test_rule_without_an_answer_is_reported() -> None:
    bank = Scripted("bank")
    bank.on("charge")
    with pytest.raises(Unscripted, match=r"what does it answer\?"):
        await bank.charge()
