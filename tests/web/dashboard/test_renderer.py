"""How figures, instants and schemas are written and drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from tests.cases import check_each, check_each_async
from tests.conformance.driver import Driver
from tests.web.dashboard.conftest import Browser
from zeke_queue.model import JobStatus, RowState
from zeke_queue.task.task import Task
from zeke_queue.web.dashboard import charts, formatting, schema
from zeke_queue.web.dashboard.json_preview import preview
from zeke_queue.web.dashboard.renderer import parameters


def test_bars_are_stacked_and_small_ones_visible() -> None:
    drawn = charts.bars([[("a", 50), ("b", 25)], [("a", 0), ("b", 0.001)]], ["one", "two"], 100)
    expected = [("a", 60.0, 60.0, "one"), ("b", 30.0, 30.0, "one"), ("b", 118.5, 1.5, "two")]
    assert [(bar.kind, bar.y, bar.height, bar.says) for bar in drawn] == expected


def test_line_breaks_where_values_are_missing() -> None:
    drawn = charts.line("a", [0, 10, None, 5], 10)
    assert drawn.pieces == ("M75,120 L225,0",)
    assert drawn.dots == ((525.0, 60.0),)


def test_short_line_ends_at_the_right() -> None:
    assert charts.line("a", [1, 1], 10, places=60).pieces == ("M585,108 L595,108",)


def test_badge_has_the_name_of_the_status() -> None:
    badges = {state.value: formatting.state(state) for state in RowState}
    assert (badges["retry"], badges["active"], badges["expired"]) == ("Queued", "Executing", "Failed")
    assert set(badges.values()) == {status.capitalize() for status in JobStatus}


def test_instant_is_written_in_utc_and_in_a_zone() -> None:
    at = datetime.fromisoformat("2026-03-29T03:30:00+02:00")
    assert (
        formatting.instant(at) == '<time datetime="2026-03-29T01:30:00.000+00:00">2026-03-29 01:30:00</time>'
    )
    assert formatting.zoned(at.astimezone(UTC), "Europe/Berlin") == "2026-03-29 03:30:00 CEST"
    assert formatting.zoned(at, "Mars/Base") == formatting.NOTHING
    assert formatting.instant(None) == formatting.NOTHING


def test_long_value_is_cut_in_lists() -> None:
    assert len(formatting.excerpt({"a": "x" * 500})) == formatting.EXCERPT
    assert formatting.excerpt("a\n  b") == "a b"


def test_empty_parameters_are_left_out() -> None:
    asked = parameters({"a": "", "b": None, "c": False, "d": True, "e": ["1", "", "2"], "f": 0})
    assert asked == [("d", "1"), ("e", "1"), ("e", "2"), ("f", "0")]


class Stamp(BaseModel):
    price: float
    colour: Literal["red", "blue"]


class Parcel(BaseModel):
    """A payload of all sorts."""

    to: str = Field(description="Whom it goes to")
    id: UUID
    weights: list[int]
    stamp: Stamp
    note: str | None = None
    fragile: bool = True


def send(payload: Parcel) -> None:
    """Send a parcel."""


def test_example_has_required_fields_and_defaults() -> None:
    described = Task[Any, Any](send, "send").json_schema()
    assert json.loads(schema.example(described)) == {
        "to": "",
        "id": "",
        "weights": [],
        "stamp": {"price": 0, "colour": "red"},
        "note": None,
        "fragile": True,
    }
    assert [
        (field.name, field.type, field.required, field.default) for field in schema.fields(described)
    ] == [
        ("to", "string", True, ""),
        ("id", "uuid", True, ""),
        ("weights", "list of integer", True, ""),
        ("stamp", "object", True, ""),
        ("note", "string or null", False, "null"),
        ("fragile", "boolean", False, "true"),
    ]
    assert schema.fields(described)[0].description == "Whom it goes to"


class Node(BaseModel):
    inner: "Node"


def grow(payload: Node) -> None:
    """Take a recursive model."""


def test_example_of_a_recursive_model_ends() -> None:
    assert schema.example(Task[Any, Any](grow, "grow").json_schema()).count("inner") < 10


def test_any_schema_has_an_example() -> None:
    def check(given: dict[str, Any]) -> None:
        json.loads(schema.example(given))
        assert schema.fields(given) == []

    check_each([{}, {"type": "array"}, {"anyOf": []}, {"$ref": "#/$defs/gone"}, {"enum": []}], check)


# The beginning of a value: a prefix, whose cost depends only on its length


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=VALUES, most=st.integers(0, 200), indent=st.sampled_from([None, 2]))
def test_beginning_is_a_prefix_of_the_whole_value(value: Any, most: int, indent: int | None) -> None:
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=indent)
    taken = preview(value, most, indent=indent)
    assert taken.text == whole[:most]
    assert taken.is_cut == (len(whole) > most)


class Endless(list[Any]):
    """A list that counts how many of its values were read."""

    def __init__(self) -> None:
        super().__init__([0])
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        while self.read < 100_000:
            self.read += 1
            yield "word"


def test_only_the_shown_part_is_read() -> None:
    def check(write: Any) -> None:
        endless = Endless()
        write({"a": [endless]})
        assert endless.read <= formatting.SHOWN / len("word")

    check_each([formatting.excerpt, formatting.pretty, formatting.whole], check)


def test_value_may_nest_deeper_than_the_call_stack() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert formatting.excerpt(deep) == "[" * (formatting.EXCERPT - 1) + "…"


async def test_page_cuts_long_values_and_says_where_the_rest_is(browser: Browser, jobs: Driver) -> None:
    job = await jobs.running("mail", data=json.dumps({"to": "x" * 200_000}))
    await jobs.complete(job, output=json.dumps(["y" * 200_000]))
    page = await browser.see(f"/jobs/{job.id}")
    assert len(page) < 2 * formatting.SHOWN + 30_000
    for part in ("payload", "output"):
        assert f'id="{part}-cut"' in page
        assert f'data-copy="{part}"' not in page, "a part would be taken for the whole"
    assert f"GET /trigger/runs/{job.id}" in page


async def test_page_marks_no_value_that_it_shows_whole(browser: Browser, jobs: Driver) -> None:
    job = await jobs.running("mail", data=json.dumps({"to": "x"}))
    page = await browser.see(f"/jobs/{job.id}")
    assert "-cut" not in page
    assert 'data-copy="payload"' in page


async def test_page_cuts_a_long_error(browser: Browser, jobs: Driver) -> None:
    async def check(output: Any) -> None:
        job = await jobs.running("break")
        await jobs.fail(job, output=json.dumps(output))
        page = await browser.see(f"/jobs/{job.id}")
        assert 'id="error-text-cut"' in page
        assert len(page) < 2 * formatting.SHOWN
        assert len(await browser.see("/")) < formatting.SHOWN

    cases = [{"type": "E", "message": "m" * 200_000, "traceback": "t" * 200_000}, "e" * 200_000]
    await check_each_async(cases, check)
