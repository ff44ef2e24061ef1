"""Payloads of all kinds of types, drawn by their schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from pydantic import (
    UUID1,
    UUID4,
    UUID5,
    UUID7,
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    Base64UrlStr,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    FileUrl,
    FutureDate,
    FutureDatetime,
    HttpUrl,
    IPvAnyNetwork,
    NaiveDatetime,
    PastDate,
    PastDatetime,
    PostgresDsn,
    RedisDsn,
)

from tests.cases import check_each
from zeke_queue import Catalog, UsageError
from zeke_queue.task.task import Task
from zeke_sim import virtual_time
from zeke_sim.strategies import payloads, plans, workloads


class Color(Enum):
    RED = "red"
    TWO = 2


class Level(IntEnum):
    LOW = 1


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=2**60)


class Dog(BaseModel):
    kind: Literal["dog"]
    friends: list[Dog] = []


class Point(NamedTuple):
    x: int
    name: str


class Exact(BaseModel):
    """A strict model, whose JSON has texts for what Python has objects for."""

    model_config = ConfigDict(strict=True, extra="forbid")

    price: Annotated[Decimal, Field(max_digits=6, decimal_places=2, gt=0)]
    share: Annotated[Decimal, Field(gt=0, lt=1)]
    steps: Annotated[Decimal, Field(multiple_of=0.05, le=3)]
    address: IPv4Address
    id: UUID
    color: Color
    at: datetime
    naive: NaiveDatetime
    aware: AwareDatetime
    numbers: set[int]
    owner: Annotated[Cat | Dog, Field(discriminator="kind")]


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

KINDS: dict[str, Any] = {
    "addresses": tuple[IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface],
    "any network": IPvAnyNetwork,
    "ids": tuple[UUID1, UUID4, UUID5, UUID7],
    "enums": tuple[Color, Level, Annotated[list[Color], Field(min_length=1)]],
    "strict model": Exact,
    "past and future": tuple[PastDate, FutureDate, PastDatetime, FutureDatetime],
    "past and future with bounds": tuple[
        Annotated[PastDate, Field(ge=date(2010, 1, 1))],
        Annotated[FutureDate, Field(le=date(2100, 1, 1))],
        bool,
    ],
    "dates": Annotated[date, Field(ge=date(2026, 1, 1), lt=date(2026, 1, 3))],
    "datetimes": Annotated[datetime, Field(gt=NEW_YEAR, le=NEW_YEAR + timedelta(days=1))],
    "times": Annotated[time, Field(ge=time(9), lt=time(9, 1))],
    "aware times": Annotated[time, Field(ge=time(9, tzinfo=UTC))],
    "spans": Annotated[timedelta, Field(gt=timedelta(days=-1), lt=timedelta(0))],
    "urls": tuple[HttpUrl, FileUrl, RedisDsn, PostgresDsn],
    "base64": tuple[Base64Bytes, Base64UrlStr],
    "keys": tuple[dict[UUID, int], dict[Color, int], dict[date, int], Mapping[Literal["a"], int]],
    "numbers": tuple[
        Annotated[int, Field(ge=2**60)],
        Annotated[float, Field(multiple_of=0.5, gt=1)],
        Annotated[int, Field(lt=-(2**60))],
    ],
    "multiples": tuple[
        Annotated[Decimal, Field(multiple_of=2, gt=-3, lt=-1)],
        Annotated[Decimal, Field(multiple_of=2, ge=5, le=8)],
    ],
    "others": tuple[Point, Path, ZoneInfo, complex, bytes, Sequence[int], re.Pattern[str]],
}  # fmt: skip


def task_of(kind: Any) -> Task[Any, Any]:
    def handler(payload: Any) -> None: ...

    handler.__annotations__["payload"] = kind
    return Catalog().task("kind")(handler)


def test_payloads_of_each_kind_are_drawn() -> None:
    with virtual_time(Catalog()):
        pass  # since then, names of datetime stand for other classes in this process

    def check(kind: Any) -> None:
        drawn: list[Any] = []

        @settings(max_examples=20, derandomize=True, database=None)
        @given(payload=payloads(task_of(kind)))
        def run(payload: Any) -> None:
            drawn.append(payload)

        run()  # validates each payload, and fails if most are invalid
        assert len(drawn) >= 2

    check_each(KINDS, check)


def test_types_with_checks_of_their_own_are_named() -> None:
    class Upload(BaseModel):
        file: FilePath

    @settings(derandomize=True, database=None)
    @given(payloads(task_of(Upload)))
    def run(_payload: Any) -> None: ...

    with pytest.raises(UsageError, match=r"no payload that was drawn is valid: .*[Ff]ile.*; for types with"):
        run()


def test_types_whose_checks_fail_in_several_ways_are_one_failure() -> None:
    def refuse(number: int) -> int:
        raise (OSError if number % 2 else ValueError)("it is refused")

    @settings(derandomize=True, database=None)
    @given(payloads(task_of(Annotated[int, AfterValidator(refuse)])))
    def run(_payload: Any) -> None: ...

    with pytest.raises(
        UsageError, match=r"no payload that was drawn is valid: .*it is refused; for types with"
    ):
        run()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: workloads("mail"), "tasks: must be a catalog or a list of tasks, got 'mail'"),  # type: ignore[arg-type]
        (lambda: workloads(task_of(int)), "tasks: must be a catalog or a list of tasks"),  # type: ignore[arg-type]
        (lambda: workloads([task_of(int)], max_size=-1), "max_size: must be 0 or more, got -1"),
        (lambda: workloads([task_of(int)], within=-1), "within: must be 0 or more seconds, got -1"),
        (lambda: plans(workers=0), "workers: must be 1 or more, got 0"),
        (lambda: plans(seconds=float("nan")), "seconds: must be 0 or more seconds, got nan"),
        (lambda: plans(kinds="kill"), r"kinds: must be a list of kinds, got 'kill'; pass \['kill'\]"),
        (lambda: plans(max_size=1.5), "max_size: must be 0 or more, got 1.5"),  # type: ignore[arg-type]
    ],
)
def test_invalid_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()
