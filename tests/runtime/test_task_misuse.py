"""Invalid tasks and catalogs: each is refused where it is defined, with a remedy."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
from pydantic import BaseModel, field_serializer

from tests.cases import check_each
from tests.runtime.odd_values import nested, wrong_values
from zeke_queue.core.options import JobOptions
from zeke_queue.errors import InvalidOptionError, SerializationError, UsageError
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Task


def idle() -> None: ...
def by_anything(payload: Any) -> None: ...
def by_name(payload: dict[str, Any]) -> None: ...


class Doer:
    def __call__(self) -> None: ...

    def bound(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...


# A linter would refuse it, but it occurs.
nameless: Any = eval("lambda: 1")  # noqa: S307 - a constant


# Handlers


def through() -> Any:
    yield 1


async def through_slowly() -> Any:
    yield 1


def test_generator_is_refused_as_a_handler() -> None:
    def check(handler: Any) -> None:
        with pytest.raises(UsageError, match=r"'walk'.*is a generator, .* return a value"):
            Task(handler, "walk")

    check_each([through, through_slowly], check)


def counted(n: int = 3) -> int:
    return n


def miscounted(n: int = "three") -> int:  # type: ignore[assignment] - what untyped code does
    return n


def test_missing_payload_takes_the_default_of_the_handler() -> None:
    task: Task[int, int] = Task(counted, "count")
    assert (task.validate(), task.validate(5)) == (3, 5)
    assert (task.dump(), task.dump(5)) == ("3", "5")
    assert (task.validate_json(None), task.validate_json(b"null"), task.validate_json(b"5")) == (3, 3, 5)


def test_invalid_default_of_a_payload_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'count': the payload's default, 'three', does not fit its type"):
        Task(miscounted, "count")


# Payloads that have no JSON form


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


class Sulking(BaseModel):
    x: int = 0

    @field_serializer("x")
    def refuse(self, value: int) -> int:
        raise LookupError(f"no more of {value}")


def by_sulking(payload: Sulking) -> None: ...


def test_payload_without_json_form_is_refused_with_task_and_place() -> None:
    def check(handler: Any, payload: Any, why: str) -> None:
        task: Task[Any, None] = Task(handler, "mail")
        expected = rf"^The payload of task 'mail' has no JSON form: .*{why}"
        with pytest.raises(SerializationError, match=expected) as refused:
            task.dump(payload)
        assert len(str(refused.value)) < 500

    too_deep = "nests more than 200 levels deep; flatten it"
    digits = r"\$\.a\.1: an integer has 5001 digits, 4300 at most; store it as text"
    pair, text = "half of a surrogate pair", {"a": ["x", "half \ud83d"]}
    cases = {
        "300 levels": (by_anything, nested(300), too_deep),
        "100 000 levels": (by_anything, nested(100_000), too_deep),
        "300 levels in a dict": (by_name, {"a": nested(300)}, too_deep),
        "circle": (by_anything, CIRCLE, r"\$\.0: the value contains itself"),
        "half a pair": (by_anything, text, rf"\$\.a\.1: must be valid Unicode, got {pair}"),
        "half a pair as a key": (by_anything, {"\ud83d": 1}, pair),
        "half a pair as a key of a dict": (by_name, {"\ud83d": 1}, pair),
        "bytes": (by_anything, {"a": b"\xff"}, r"\$\.a: .*invalid utf-8"),
        "digits": (by_anything, {"a": ["NaN", 10**5_000]}, digits),
        "object": (by_anything, {"a": object()}, r"\$\.a: "),
        "NUL": (by_anything, {"a": "NUL \0"}, r"\$\.a: the text has a NUL character"),
        "NaN": (by_anything, {"a": [math.nan]}, r"\$\.a\.0: must be a finite number, got nan"),
        "infinity": (by_name, {"a": math.inf}, r"\$\.a: must be a finite number, got inf"),
        "serialiser that raises": (by_sulking, {}, "no more of 0"),
    }
    check_each(cases, check)


# Handlers


def test_handler_that_can_not_be_imported_does_not_run_in_a_process() -> None:
    def check(handler: Any) -> None:
        Task(handler, "odd")
        with pytest.raises(UsageError, match=r"Task 'odd': .* define it with def at the top level"):
            Task(handler, "odd", process=True)

    def local() -> None: ...

    partial = functools.partial(by_anything, 1)
    check_each([nameless, local, functools.partial(idle), partial, Doer(), Doer().bound], check)


def test_handler_that_can_be_imported_runs_in_a_process() -> None:
    for handler in (idle, Doer.of_class, Doer.static):
        assert Task(handler, "found", process=True).kind == "process", handler


def test_object_that_can_not_be_called_is_refused_as_a_handler() -> None:
    def check(handler: Any) -> None:
        with pytest.raises(UsageError, match=r"^Task 'odd': must be a function, got .*; decorate a function"):
            Catalog().task("odd")(handler)

    check_each([5, None, "idle", {}], check)


def test_handler_without_a_signature_is_refused() -> None:
    with pytest.raises(UsageError, match="can't be determined; wrap it in a function of your own"):
        Task(iter, "made")


# Options of a task


def test_invalid_option_of_a_task_is_refused() -> None:
    def check(field: str, value: Any) -> None:
        with pytest.raises(InvalidOptionError, match=rf"^{field}: must "):
            Catalog().task("odd", **{field: value})(idle)

    wrong: dict[str, list[Any]] = {
        "process": ["no", 1],
        "aliases": ["post", None, 5],
        "description": [5, "a\0", "\ud800"],
        "concurrency_limit": [0, -1, True, 1.5, 2**31, "2", 10**5_000],
        "expire_in": [-1],
    }
    check_each(wrong_values(wrong), check)


# Catalogs


def test_invalid_option_of_a_catalog_is_refused() -> None:
    def check(options: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidOptionError, match=rf"^{field}: must "):
            Catalog(**options)

    cases: list[tuple[dict[str, Any], str]] = [
        ({"defaults": {"priority": "high"}}, "priority"),
        ({"defaults": {"delay": 5}}, "delay"),
        ({"defaults": 5}, "defaults"),
        ({"defaults": JobOptions(retry_limit=-1)}, "retry_limit"),
        ({"payload_cap": "1000"}, "payload_cap"),
        ({"payload_cap": None}, "payload_cap"),
        ({"payload_cap": -1}, "payload_cap"),
        ({"output_cap": math.nan}, "output_cap"),
        ({"output_cap": True}, "output_cap"),
        ({"resources": 5}, "resources"),
    ]
    check_each(cases, check)


def test_only_a_catalog_can_be_included() -> None:
    def check(other: Any) -> None:
        with pytest.raises(UsageError, match=r"^include: must be a Catalog, got "):
            Catalog().include(other)

    check_each([5, None, "tasks", idle], check)


def test_description_of_a_declared_schedule_must_be_text() -> None:
    def check(description: Any) -> None:
        with pytest.raises(InvalidOptionError, match=r"^description: must "):
            Catalog().schedule("nightly", "0 3 * * *", description=description)

    check_each([5, "a\0", "\ud800"], check)


def test_task_of_a_declared_schedule_must_be_a_name_or_a_task() -> None:
    def check(task: Any) -> None:
        with pytest.raises(UsageError, match=r"^task: must be a task or its name, got "):
            Catalog().schedule("nightly", "0 3 * * *", task=task)

    check_each([5, b"mail", idle], check)
