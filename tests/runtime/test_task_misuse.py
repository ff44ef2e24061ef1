"""Tasks and catalogs that can't be: each is refused where it is defined, in words that say what to do."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
from pydantic import BaseModel, field_serializer

from zeke_queue.catalog import Catalog
from zeke_queue.core.options import JobOptions
from zeke_queue.errors import BadOption, DuplicateTask, NotJson, UsageError
from zeke_queue.task import Task


def idle() -> None: ...
def by_anything(payload: Any) -> None: ...
def by_name(payload: dict[str, Any]) -> None: ...


class Doer:
    """Handlers that belong to an object or a class."""

    def __call__(self) -> None: ...

    def bound(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...

    @staticmethod
    def static() -> None: ...


# As a linter would not let it be written; but people do.
nameless: Any = eval("lambda: 1")  # noqa: S307 - a constant


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


# Handlers


def through() -> Any:
    yield 1


async def through_slowly() -> Any:
    yield 1


@pytest.mark.parametrize("handler", [through, through_slowly])
def test_a_generator_is_no_handler(handler: Any) -> None:
    with pytest.raises(UsageError, match=r"'walk'.*is a generator, .* return a value"):
        Task(handler, "walk")


def counted(n: int = 3) -> int:
    return n


def miscounted(n: int = "three") -> int:  # type: ignore[assignment] - what untyped code does
    return n


def test_a_payload_that_is_left_out_is_the_default_that_the_handler_gives() -> None:
    task: Task[int, int] = Task(counted, "count")
    assert (task.validate(), task.validate(5)) == (3, 5)
    assert (task.dump(), task.dump(5)) == ("3", "5")
    assert (task.validate_json(None), task.validate_json(b"null"), task.validate_json(b"5")) == (3, 3, 5)


def test_a_default_that_does_not_fit_its_type_is_refused() -> None:
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


@pytest.mark.parametrize(
    ("handler", "payload", "why"),
    [
        (by_anything, nested(300), "nests more than 200 levels deep; flatten it"),
        (by_anything, nested(100_000), "nests more than 200 levels deep; flatten it"),
        (by_name, {"a": nested(300)}, "nests more than 200 levels deep; flatten it"),
        (by_anything, CIRCLE, r"\$\.0: the value contains itself"),
        (by_anything, {"a": ["x", "half \ud83d"]}, r"\$\.a\.1: the text has half of a surrogate pair"),
        (by_anything, {"\ud83d": 1}, "half of a surrogate pair"),
        (by_name, {"\ud83d": 1}, "half of a surrogate pair"),
        (by_anything, {"a": b"\xff"}, r"\$\.a: .*invalid utf-8"),
        (
            by_anything,
            {"a": ["NaN", 10**5_000]},
            r"\$\.a\.1: an integer has 5001 digits, 4300 at most; store it as text",
        ),
        (by_anything, {"a": object()}, r"\$\.a: "),
        (by_anything, {"a": "NUL \0"}, r"\$\.a: the text has a NUL character"),
        (by_anything, {"a": [math.nan]}, r"\$\.a\.0: nan is no JSON number"),
        (by_name, {"a": math.inf}, r"\$\.a: inf is no JSON number"),
        (by_sulking, {}, "no more of 0"),
    ],
)
def test_a_payload_without_json_form_is_refused_with_the_task_and_the_place(
    handler: Any, payload: Any, why: str
) -> None:
    task: Task[Any, None] = Task(handler, "mail")
    with pytest.raises(NotJson, match=rf"^The payload of task 'mail' has no JSON form: .*{why}") as refused:
        task.dump(payload)
    assert len(str(refused.value)) < 500


# Handlers


@pytest.mark.parametrize(
    "handler",
    [nameless, functools.partial(idle), Doer(), Doer().bound, functools.partial(by_anything, 1)],
)
def test_a_handler_that_no_name_leads_to_can_not_run_in_a_process(handler: Any) -> None:
    Task(handler, "odd")
    with pytest.raises(UsageError, match=r"Task 'odd': .* write a function with def at the top level"):
        Task(handler, "odd", process=True)


@pytest.mark.parametrize("handler", [idle, Doer.of_class, Doer.static])
def test_a_handler_that_a_name_leads_to_can_run_in_a_process(handler: Any) -> None:
    assert Task(handler, "found", process=True).kind == "process"


@pytest.mark.parametrize("handler", [5, None, "idle", {}])
def test_what_can_not_be_called_is_no_handler(handler: Any) -> None:
    with pytest.raises(UsageError, match=r"^Task 'odd': .* is no handler; decorate a function"):
        Catalog().task("odd")(handler)


def test_a_handler_whose_arguments_can_not_be_told_is_refused() -> None:
    with pytest.raises(UsageError, match="can't be told; wrap it in a function of your own"):
        Task(iter, "made")


# Options of a task


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"process": "no"}, "process"),
        ({"process": 1}, "process"),
        ({"aliases": "post"}, "aliases"),
        ({"aliases": None}, "aliases"),
        ({"aliases": 5}, "aliases"),
        ({"description": 5}, "description"),
        ({"description": "a\0"}, "description"),
        ({"description": "\ud800"}, "description"),
        ({"concurrency_limit": 0}, "concurrency_limit"),
        ({"concurrency_limit": 2**31}, "concurrency_limit"),
        ({"concurrency_limit": "2"}, "concurrency_limit"),
        ({"concurrency_limit": 10**5_000}, "concurrency_limit"),
    ],
)
def test_an_option_of_a_task_that_can_not_be_is_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(BadOption, match=rf"^{field}: .*; give"):
        Catalog().task("odd", **options)(idle)


def test_a_name_that_is_given_twice_is_told() -> None:
    with pytest.raises(DuplicateTask, match="one of its names twice"):
        Catalog().task("odd", aliases=("a", "a"))(idle)


# Catalogs


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"defaults": {"priority": 1}}, "defaults"),
        ({"defaults": 5}, "defaults"),
        ({"defaults": JobOptions(retry_limit=-1)}, "retry_limit"),
        ({"payload_cap": "1000"}, "payload_cap"),
        ({"payload_cap": None}, "payload_cap"),
        ({"payload_cap": -1}, "payload_cap"),
        ({"output_cap": math.nan}, "output_cap"),
        ({"output_cap": True}, "output_cap"),
        ({"resources": 5}, "resources"),
    ],
)
def test_an_option_of_a_catalog_that_can_not_be_is_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(BadOption, match=rf"^{field}: .*; give"):
        Catalog(**options)


@pytest.mark.parametrize("other", [5, None, "tasks", idle])
def test_only_a_catalog_can_be_included(other: Any) -> None:
    with pytest.raises(UsageError, match="is no catalog; give"):
        Catalog().include(other)


@pytest.mark.parametrize("description", [5, "a\0", "\ud800"])
def test_a_declared_schedule_is_described_by_text_alone(description: Any) -> None:
    with pytest.raises(BadOption, match=r"^description: .*; give"):
        Catalog().schedule("nightly", "0 3 * * *", description=description)


@pytest.mark.parametrize("task", [5, b"mail", idle])
def test_a_declared_schedule_names_its_task_by_text_or_itself(task: Any) -> None:
    with pytest.raises(UsageError, match="is no task: give its name"):
        Catalog().schedule("nightly", "0 3 * * *", task=task)
