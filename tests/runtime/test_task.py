"""Tasks: the signatures of handlers, and the validation of payloads on each path."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict  # the one of Python 3.11 lacks what pydantic needs

from tests.cases import check_each
from zeke_queue.core import jsonb
from zeke_queue.errors import (
    InvalidNameError,
    PayloadTooLargeError,
    PayloadValidationError,
    SerializationError,
    UsageError,
)
from zeke_queue.task.context import JobContext
from zeke_queue.task.task import HandlerTask, Task


class Item(BaseModel):
    """As Zeke's clients write it: camelCase outside, snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    item_id: UUID
    chunk_size: int = Field(default=20, ge=1)
    note: str | None = None


ID = UUID("0193aaaa-0000-7000-8000-000000000001")


async def take_item(payload: Item) -> UUID:
    """Handle one item.

    And then some.
    """
    return payload.item_id


def item_task(**options: Any) -> HandlerTask[Item, UUID, ..., Awaitable[UUID]]:
    return HandlerTask(take_item, "item", **options)


# Forms of a payload, and its stored JSON


def test_payload_is_written_by_its_aliases_with_defaults() -> None:
    def check(given: object) -> None:
        assert json.loads(item_task().dump(given) or "") == {"itemId": str(ID), "chunkSize": 20, "note": None}

    cases = {
        "model": Item(item_id=ID),
        "aliases": {"itemId": str(ID)},
        "names": {"item_id": ID},
        "python values": {"itemId": ID, "chunkSize": 20},
    }
    check_each(cases, check)


def test_every_invalid_field_is_named_by_its_alias() -> None:
    with pytest.raises(PayloadValidationError) as caught:
        item_task().validate({"itemId": "123", "chunkSize": 0, "note": 5})
    assert [field.path for field in caught.value.fields] == ["itemId", "chunkSize", "note"]
    assert "itemId" in str(caught.value)
    assert "'item'" in str(caught.value)


def test_invalid_nested_field_is_named_by_its_path() -> None:
    class Batch(BaseModel):
        items: list[Item]

    def take(batch: Batch) -> None: ...

    with pytest.raises(PayloadValidationError) as caught:
        Task(take, "batch", local_names=locals()).validate({"items": [{"itemId": str(ID)}, {"itemId": 1}]})
    assert [field.path for field in caught.value.fields] == ["items.1.itemId"]


def test_invalid_json_is_an_invalid_payload() -> None:
    with pytest.raises(PayloadValidationError, match="Invalid JSON"):
        item_task().validate_json(b"{")


def test_missing_payload_takes_the_defaults_of_its_fields() -> None:
    class Pull(BaseModel):
        reason: str = "schedule"

    def pull(payload: Pull) -> None: ...

    task: Task[Pull, None] = Task(pull, "pull", local_names=locals())
    for data in (None, b"null", b"{}"):
        assert task.validate_json(data) == Pull(), data
    assert task.validate(None) == Pull()
    assert task.dump() == '{"reason":"schedule"}'


def test_missing_payload_with_required_fields_is_refused() -> None:
    with pytest.raises(PayloadValidationError, match="itemId"):
        item_task().validate_json(None)


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Address(TypedDict):
    street: str


def by_point(payload: Point) -> None: ...
def by_address(payload: Address) -> None: ...
def by_numbers(payload: list[int]) -> None: ...
def by_optional(payload: int | None) -> None: ...
def by_anything(payload) -> None: ...  # noqa: ANN001 - that is what is tried


def test_payload_may_be_of_any_type_known_to_pydantic() -> None:
    def check(handler: Any, given: object, text: str, value: object) -> None:
        task: Task[Any, None] = Task(handler, "any")
        assert task.dump(given) == text
        assert task.validate_json(text.encode()) == value

    cases = {
        "dataclass": (by_point, {"x": "3"}, '{"x":3,"y":0}', Point(3)),
        "TypedDict": (by_address, {"street": "Elm"}, '{"street":"Elm"}', {"street": "Elm"}),
        "list": (by_numbers, (1, 2), "[1,2]", [1, 2]),
        "optional": (by_optional, None, "null", None),
        "unannotated": (by_anything, {"a": [1, None]}, '{"a":[1,null]}', {"a": [1, None]}),
    }
    check_each(cases, check)


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists))
@settings(max_examples=50)
def test_unannotated_payload_survives_the_round_trip(value: object) -> None:
    task: Task[Any, None] = Task(by_anything, "any")
    try:
        text = task.dump(value)
    except SerializationError:
        assert "\\u0000" in json.dumps(value)
    else:
        assert task.validate_json((text or "").encode()) == value


def test_nan_is_refused_though_the_type_allows_it() -> None:
    def measure(payload: float) -> None: ...

    with pytest.raises(SerializationError):
        Task(measure, "measure").dump(float("nan"))


def test_payload_over_the_cap_is_measured_in_bytes() -> None:
    task: Task[Any, None] = Task(by_anything, "any", payload_cap=100)
    assert task.dump("é" * 49) is not None
    with pytest.raises(PayloadTooLargeError, match="102 bytes"):
        task.dump("é" * 50)


def test_payload_is_measured_as_postgres_writes_it() -> None:
    task: Task[Any, None] = Task(by_anything, "any", payload_cap=1_000)
    assert task.dump([1e300] * 3) is not None
    with pytest.raises(
        PayloadTooLargeError, match=r"task 'any' has 1212 bytes of JSON as Postgres writes it, 1000 at most; "
    ):
        task.dump([1e300] * 4)


# Signatures of handlers


def test_task_without_payload_refuses_any() -> None:
    def clean() -> None: ...

    task: Task[None, None] = Task(clean, "clean")
    assert task.dump() is None
    assert task.dump({}) is None
    assert task.validate_json(b" {} ") is None
    with pytest.raises(PayloadValidationError, match="takes no payload"):
        task.validate({"a": 1})
    with pytest.raises(PayloadValidationError, match="takes no payload"):
        task.validate_json(b'{"a": 1}')


async def with_job(payload: Item, job: JobContext) -> None: ...
async def job_alone(job: JobContext) -> None: ...
async def bare() -> None: ...
def unannotated(payload, job): ...  # noqa: ANN001, ANN201 - that is what is tried


def test_handler_is_passed_what_its_signature_names() -> None:
    def check(handler: Any, payload: bool, job: bool) -> None:  # noqa: FBT001 - the row of a table
        task: Task[Any, Any] = Task(handler, "asks")
        assert (task.takes_payload, task.takes_job) == (payload, job)

    cases = [
        (take_item, True, False),
        (with_job, True, True),
        (job_alone, False, True),
        (bare, False, False),
        (unannotated, True, True),
    ]
    check_each(cases, check)


def test_handler_with_other_arguments_is_refused_at_its_definition() -> None:
    def three(payload: int, other: int, third: int) -> None: ...
    def keyword(*, payload: int) -> None: ...

    for handler in (three, keyword):
        with pytest.raises(UsageError, match="a handler takes"):
            Task(handler, "odd")


def test_payload_type_imported_for_type_checking_only_is_refused() -> None:
    def take(payload: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(UsageError, match="import it at run time"):
        Task(take, "take")


def test_payload_type_that_can_not_be_validated_is_refused_at_its_definition() -> None:
    class Opaque: ...

    def take(payload: Opaque) -> None: ...

    with pytest.raises(UsageError, match="can't validate"):
        Task(take, "take", local_names=locals())


def test_kind_of_a_task_follows_from_its_handler() -> None:
    def sync() -> None: ...

    assert Task(bare, "a").kind == "async"
    assert Task(partial(with_job, Item(item_id=ID)), "p").kind == "async"
    assert Task(sync, "b").kind == "thread"
    assert Task(by_numbers, "c", process=True).kind == "process"


async def test_task_is_called_like_its_handler() -> None:
    assert await item_task()(Item(item_id=ID)) == ID


def test_description_is_the_first_line_of_the_docstring() -> None:
    assert item_task().description == "Handle one item."
    assert item_task(description="Other words.").description == "Other words."


def test_invalid_name_is_refused_at_the_definition() -> None:
    with pytest.raises(InvalidNameError):
        Task(bare, "not a name")


def test_schema_of_a_payload_uses_its_aliases() -> None:
    schema = item_task().json_schema()
    assert schema is not None
    assert set(schema["properties"]) == {"itemId", "chunkSize", "note"}


# Fields that the type of a payload does not have, and results


class Part(BaseModel):
    size: int = 1


class Whole(BaseModel):
    part: Part = Part()
    name: str = Field(default="", alias="wholeName")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    part: Part = Part()


class Ignoring(BaseModel):
    model_config = ConfigDict(extra="ignore")
    part: Part = Part()


class Forbidding(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1

    @computed_field
    @property
    def double(self) -> int:
        return self.size * 2


class Containing(BaseModel):
    forbidding: Forbidding = Forbidding()


@dataclasses.dataclass
class Plain:
    size: int = 1


def test_unknown_field_is_refused_in_a_send_unless_a_model_sets_extra() -> None:
    def check(payload_type: Any, payload: dict[str, Any], path: str | None) -> None:
        async def take(payload: Any) -> None: ...

        take.__annotations__["payload"] = payload_type
        task: Task[Any, Any] = Task(take, "take")
        if path is None:
            assert task.validate(payload) == payload_type.model_validate(payload)
            return
        with pytest.raises(PayloadValidationError) as caught:
            task.dump(payload)
        assert [field.path for field in caught.value.fields] == [path]
        # HTTP drops such a field, and so does a worker for a row that a newer program has sent.
        assert task.validate(payload, strict=False) == task.validate_json(json.dumps(payload).encode())

    cases: dict[str, tuple[Any, dict[str, Any], str | None]] = {
        "model": (Part, {"size": 2, "sise": 3}, "sise"),
        "nested": (Whole, {"part": {"sise": 3}}, "part.sise"),
        "dataclass": (Plain, {"sise": 3}, "sise"),
        "beside an alias": (Whole, {"wholeName": "a", "nam": "b"}, "nam"),
        "beside a model that forbids": (Containing, {"retires": 5}, "retires"),
        "extra allowed": (Open, {"other": 2}, None),
        "extra ignored": (Ignoring, {"other": 2}, None),
    }
    check_each(cases, check)


def test_output_is_read_as_the_type_of_the_result() -> None:
    def check(result_type: Any, result: Any) -> None:
        async def give() -> Any: ...

        give.__annotations__["return"] = result_type
        task: Task[Any, Any] = Task(give, "give")
        assert task.read_output(jsonb.loads(jsonb.dumps(result))) == result

    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    cases: dict[str, tuple[Any, Any]] = {
        "model": (Whole, Whole(wholeName="a")),
        "models": (list[Part], [Part(size=2), Part()]),
        "computed field": (Containing, Containing()),
        "extra fields": (Open, Open.model_validate({"other": 2})),
        "moments": (dict[str, datetime], {"a": moment}),
        "tuple": (tuple[int, UUID], (1, ID)),
        "optional": (Part | None, None),
        "none": (None, None),
        "any": (Any, {"a": 1}),
        "no annotation": (inspect.Signature.empty, {"a": 1}),
    }
    check_each(cases, check)


def test_output_that_does_not_fit_the_result_type_is_an_error() -> None:
    async def give() -> Whole: ...

    task: Task[None, Whole] = Task(give, "give")
    with pytest.raises(SerializationError, match=r"^part.size: the output of task 'give' does not fit"):
        task.read_output({"part": {"size": "much"}})


def test_unknown_types_are_refused() -> None:
    def check(what: str, annotation: Any) -> None:
        async def handle(payload: Any) -> Any: ...

        handle.__annotations__["return" if what == "result" else "payload"] = annotation
        with pytest.raises(UsageError, match=rf"^Task 'handle': the type of the {what}, .* can't be found"):
            Task(handle, "handle")

    cases = {
        f"{what}: {annotation}": (what, annotation)
        for what in ("payload", "result")
        for annotation in ("Missing", "json.Missing", list["Missing"])  # type: ignore[name-defined] # noqa: F821
    }
    check_each(cases, check)


def test_handler_may_use_what_is_assigned_later() -> None:
    async def handle(payload: "Part") -> "Part":  # noqa: UP037 - quoted annotations are what is tried
        return later(payload)

    task: Task[Part, Part] = Task(handle, "handle")

    def later(part: Part) -> Part:
        return part

    assert (task.payload_type, task.result_type) == (Part, Part)


def test_attributes_of_a_handler_do_not_replace_those_of_its_task() -> None:
    async def handle() -> None: ...

    handle.layer = handle.key = handle.name = "mine"
    task: Task[None, None] = Task(handle, "handle", options={"priority": 3})
    assert (task.name, task.key, task.options) == ("handle", None, {"priority": 3})
