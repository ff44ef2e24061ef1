"""Failures as JSON: the stored parts of an exception, however unusual it is."""

from __future__ import annotations

import json
from typing import Any, NoReturn, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from tests.unit.tables import check_gives
from zeke_queue.core.failure import MESSAGE_MAX, SHOWN_MAX, TRACEBACK_MAX, error_output, error_record, shown
from zeke_queue.core.jsonb import normalise

E = TypeVar("E", bound=BaseException)


def raised(error: E) -> E:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def record(error: BaseException, **extra: Any) -> dict[str, Any]:
    text = error_output(raised(error), **extra)
    normalise(text)  # Postgres would take it
    return json.loads(text)


class Odd(Exception):
    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class NotText(Exception):
    def __str__(self) -> str:
        return 5  # noqa: PLE0307 # pyright: ignore[reportReturnType]


class Unreadable(Exception):
    @property
    def __cause__(self) -> NoReturn:
        raise RuntimeError("no cause")


def test_failure_has_a_type_a_message_and_a_traceback() -> None:
    said = record(ValueError("wrong size"))
    assert list(said) == ["type", "message", "traceback"]
    assert (said["type"], said["message"]) == ("ValueError", "wrong size")
    assert said["traceback"].startswith("Traceback (most recent call last):")
    assert said["traceback"].rstrip().endswith("ValueError: wrong size")
    assert "in raised" in said["traceback"]


def test_type_of_a_custom_exception_has_its_module() -> None:
    assert record(json.JSONDecodeError("x", "y", 0))["type"] == "json.decoder.JSONDecodeError"


def test_causes_contexts_and_notes_are_included() -> None:
    cause = raised(KeyError("the cause"))
    error = ValueError("the effect")
    error.__cause__ = cause
    error.add_note("a note of the handler")
    told = record(error)["traceback"]
    for part in ("KeyError: 'the cause'", "direct cause", "ValueError: the effect", "a note of the handler"):
        assert part in told


def test_members_of_an_exception_group_are_included() -> None:
    told = record(ExceptionGroup("two of them", [ValueError("one"), raised(TypeError("other"))]))
    assert told["type"] == "ExceptionGroup"
    assert told["message"] == "two of them (2 sub-exceptions)"
    assert "ValueError: one" in told["traceback"]
    assert "TypeError: other" in told["traceback"]


def test_exception_without_text_is_described_by_its_type() -> None:
    def check(odd: type[Exception]) -> None:
        told = record(odd("x"))
        assert odd.__name__ in told["type"]
        assert odd.__name__ in told["message"]
        assert "Traceback" in told["traceback"]

    check_each([Odd, Endless, NotText], check)


def test_unformattable_exception_has_its_frames() -> None:
    assert "in raised" in record(Unreadable("x"))["traceback"]


def test_long_message_keeps_its_head_and_tail() -> None:
    told = record(ValueError("begin" + "x" * 10**6 + "end"))
    assert len(told["message"]) <= MESSAGE_MAX
    assert told["message"].startswith("begin")
    assert told["message"].endswith("end")
    assert "characters left out" in told["message"]
    assert len(told["traceback"]) <= TRACEBACK_MAX


def test_omitted_parts_are_counted() -> None:
    told = json.loads(error_record("E", "x" * 5_000))["message"]
    kept = told.count("x")
    assert f"{5_000 - kept} characters left out" in told


def test_deep_recursion_fits() -> None:
    def deeper(n: int) -> int:
        return deeper(n + 1) + 1

    with pytest.raises(RecursionError) as caught:
        deeper(0)
    told = json.loads(error_output(caught.value))
    assert told["type"] == "RecursionError"
    assert len(told["traceback"]) <= TRACEBACK_MAX


def test_exception_that_is_its_own_cause_is_included_once() -> None:
    error = ValueError("circle")
    error.__context__ = KeyError("back")
    error.__context__.__context__ = error
    assert "circle" in record(error)["traceback"]


@given(message=st.text(st.characters(), max_size=50), extra=st.text(st.characters(), max_size=20))
def test_any_text_becomes_text_that_postgres_accepts(message: str, extra: str) -> None:
    told = record(ValueError(message), extra=extra)
    if message.isascii() and "\0" not in message:
        assert told["message"] == message


def test_extra_keys_are_kept_and_do_not_hide_the_others() -> None:
    told = record(ValueError("x"), reason="deadline", worker=None, message="other", size=[1, 2])
    assert (told["reason"], told["worker"], told["size"]) == ("deadline", None, [1, 2])
    assert told["message"] == "x"


def test_extra_value_that_is_not_json_becomes_short_text() -> None:
    def check(extra: object) -> None:
        told = record(ValueError("x"), extra=extra)
        assert isinstance(told["extra"], str)
        assert len(told["extra"]) <= MESSAGE_MAX

    values = [object(), float("nan"), Odd("x"), {"a": object()}, "\0", "x" * 10**6, [0] * 10**5]
    check_each({f"{index}: {type(value)}": value for index, value in enumerate(values)}, check)


def test_failure_without_an_exception_has_no_traceback() -> None:
    assert json.loads(error_record("LeaseExpired", "the worker is gone", worker="w")) == {
        "type": "LeaseExpired",
        "message": "the worker is gone",
        "traceback": None,
        "worker": "w",
    }


def test_end_of_a_process_is_described() -> None:
    assert record(SystemExit(3))["message"] == "3"
    assert record(KeyboardInterrupt())["type"] == "KeyboardInterrupt"


def test_message_that_is_not_text_is_described() -> None:
    def check(message: Any) -> None:
        assert json.loads(error_record("Fail", message))["message"] == shown(message)

    cases = {"number": 5, "none": None, "list": ["why"], "long number": [10**5_000], "bytes": b"\xff"}
    check_each(cases, check)


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_value_is_shown_in_about_a_line() -> None:
    check_gives(
        shown,
        {
            "text": ("a", "'a'"),
            "long number": ([10**5_000], "<list>"),
            "repr raises": (Unshowable(), "<Unshowable>"),
            "half a character": ("\ud800", "'\\ud800'"),
            "long text": ("x" * 1_000, "'" + "x" * (SHOWN_MAX - 1) + "…"),
        },
    )
