"""The beginning of a value: a prefix, whose cost depends only on its length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, check_each_async
from tests.conformance.driver import Driver
from tests.web.dashboard.conftest import Browser
from zeke_queue.web.dashboard import formatting
from zeke_queue.web.dashboard.json_preview import preview

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
