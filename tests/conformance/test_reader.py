"""Reading jobs: by id, by filter, and as counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from zeke_queue.core import jsonb
from zeke_queue.errors import JobNotFoundError
from zeke_queue.model import JobQuery, JobStatus, QueueStats, RowState
from zeke_queue.storage import Storage


async def pages(storage: Storage, **filters: Any) -> AsyncIterator[list[UUID]]:
    """Yield page after page, each of which begins where the one ahead of it ended."""
    page = await storage.find(JobQuery(**filters))
    while page.jobs:
        yield [job.id for job in page.jobs]
        page = await storage.find(JobQuery(**filters, before=page.jobs[-1].id))


def out_of_order(number: int) -> UUID:
    """Return an id that a sender might have made up: the greater the number, the lower it sorts."""
    return UUID(int=(1_000 - number) << 96, version=5)


async def test_jobs_are_returned_by_id_live_or_archived(storage: Storage, jobs: Driver) -> None:
    archived = await jobs.ended(RowState.COMPLETED)
    jobs.clock.advance(1)
    await storage.archive(0, 100)
    live, unknown = await jobs.send(), jobs.new_id()
    found = await storage.get([live, archived, unknown])
    expected = {live: RowState.CREATED, archived: RowState.COMPLETED}
    assert {job_id: job.row_state for job_id, job in found.items()} == expected
    assert await storage.get([]) == {}


async def test_returned_job_does_not_change_with_the_stored_one(storage: Storage, jobs: Driver) -> None:
    job_id = await jobs.send()
    seen = await jobs.look(job_id)
    await storage.cancel([job_id])
    assert seen.row_state is RowState.CREATED


async def test_jobs_are_listed_newest_first_with_ids_in_any_order(storage: Storage, jobs: Driver) -> None:
    made_up = [out_of_order(number) for number in range(4)]
    sent = []
    for job_id in made_up:
        sent += [await jobs.send(id=job_id), await jobs.send()]
        jobs.clock.advance(0.000001)
    newest_first = [one for pair in zip(sent[::2], sent[1::2], strict=True) for one in sorted(pair)][::-1]
    assert [job.id for job in (await storage.find(JobQuery())).jobs] == newest_first
    assert [job.id for job in (await storage.find(JobQuery(limit=3))).jobs] == newest_first[:3]


async def test_jobs_of_one_moment_are_listed_by_their_ids(storage: Storage, jobs: Driver) -> None:
    ids = [await jobs.send(id=out_of_order(number)) for number in (3, 1, 4, 2)]
    assert [page async for page in pages(storage, limit=1)] == [[one] for one in sorted(ids, reverse=True)]


async def test_small_pages_have_each_job_once_while_new_ones_arrive(storage: Storage, jobs: Driver) -> None:
    async def check(limit: int) -> None:
        name = f"pages of {limit}"
        there = []
        for number in range(9):
            there.append(await jobs.send(name, id=out_of_order(100 * limit + number)))
            if number % 3:  # else the next one is of the same moment
                jobs.clock.advance(1)
        newest_first = [job.id for job in (await storage.find(JobQuery(names=(name,)))).jobs]
        seen = []
        async for page in pages(storage, names=(name,), limit=limit):
            assert len(page) <= limit
            seen += page
            await jobs.send(name, id=out_of_order(100 * limit + 20 + len(seen)))
            jobs.clock.advance(1)
        assert seen == newest_first
        assert set(seen) == set(there)

    await check_each_async([1, 2, 3, 7], check)


async def test_pages_go_on_when_jobs_are_archived_in_between(storage: Storage, jobs: Driver) -> None:
    first = await jobs.send(id=out_of_order(1))
    jobs.clock.advance(1)
    ended = await jobs.ended(RowState.COMPLETED, "post", id=out_of_order(2))
    jobs.clock.advance(1)
    last = await jobs.send(id=out_of_order(3))
    assert [page async for page in pages(storage, limit=1)] == [[last], [ended], [first]]
    await storage.archive(0, 100)
    assert [job.id for job in (await storage.find(JobQuery(before=ended))).jobs] == [first]
    assert [job.id for job in (await storage.find(JobQuery(before=last, archived=True))).jobs] == [ended]
    assert (await storage.find(JobQuery(before=first, archived=True))).jobs == []


async def test_archived_jobs_are_listed_newest_first_with_ids_in_any_order(jobs: Driver) -> None:
    sent = []
    for number in range(5):
        sent.append(await jobs.ended(RowState.COMPLETED, id=out_of_order(number)))
        jobs.clock.advance(1)
    await jobs.storage.archive(0, 100)
    found = [page async for page in pages(jobs.storage, archived=True, limit=2)]
    assert found == [sent[:2:-1], sent[2:0:-1], sent[:1]]


async def test_archived_jobs_of_one_moment_are_listed_by_their_ids(storage: Storage, jobs: Driver) -> None:
    sent = [await jobs.ended(RowState.COMPLETED, id=out_of_order(number)) for number in (3, 1, 4, 2)]
    jobs.clock.advance(1)
    await storage.archive(0, 100)

    async def check(limit: int) -> None:
        found = [page async for page in pages(storage, archived=True, limit=limit)]
        assert [job_id for page in found for job_id in page] == sorted(sent, reverse=True)

    await check_each_async([1, 3, 100], check)


async def test_page_before_an_unknown_job_is_an_error(storage: Storage, jobs: Driver) -> None:
    await jobs.send()
    unknown = jobs.new_id()
    for archived in (False, True):
        with pytest.raises(JobNotFoundError, match=f"^before: must be the id of .*, got {unknown}; pass"):
            await storage.find(JobQuery(before=unknown, archived=archived))


async def test_jobs_are_found_by_queue_state_and_parent(storage: Storage, jobs: Driver) -> None:
    parent = await jobs.send("parents")
    child = await jobs.send("mail", parent=parent)
    failed = await jobs.ended(RowState.FAILED, "post")

    async def found(**filters: object) -> set[object]:
        return {job.id for job in (await storage.find(JobQuery(**filters))).jobs}  # type: ignore[arg-type]

    assert await found(names=("mail", "post")) == {child, failed}
    assert await found(status=(JobStatus.FAILED, JobStatus.EXECUTING)) == {failed}
    assert await found(parent=parent) == await found(parents=(failed, parent)) == {child}
    assert await found(parents=(child,)) == set()
    assert await found(names=("mail",), status=(JobStatus.FAILED,)) == set()
    assert await found() == {parent, child, failed}


async def found_both(storage: Storage, clock: FrozenClock, **filters: Any) -> list[UUID]:
    """Return the ended jobs that a filter finds, after archiving them and finding the same ones again."""
    live = [job.id for job in (await storage.find(JobQuery(**filters))).jobs]
    await archive(storage, clock)
    assert [job.id for job in (await storage.find(JobQuery(**filters, archived=True))).jobs] == live
    return live


async def archive(storage: Storage, clock: FrozenClock) -> None:
    clock.advance(1)
    await storage.archive(0, 100)


async def test_jobs_are_found_by_when_they_were_created(storage: Storage, jobs: Driver) -> None:
    begun, sent = jobs.clock.now(), []
    for _ in range(4):
        sent.append(await jobs.ended(RowState.COMPLETED))
        jobs.clock.advance(1)

    def instant(seconds: float | None) -> datetime | None:
        at = None if seconds is None else begun + timedelta(seconds=seconds)
        return at and at.astimezone(timezone(timedelta(hours=5, minutes=30)))

    cases: list[tuple[float | None, float | None, list[int]]] = [
        (None, None, [0, 1, 2, 3]),
        (1.0, None, [1, 2, 3]),
        (1.000001, None, [2, 3]),
        (None, 2.0, [0, 1]),
        (None, 2.000001, [0, 1, 2]),
        (1.0, 3.0, [1, 2]),
        (5.0, 9.0, []),
    ]
    for archived in (False, True):

        async def check(
            since: float | None, until: float | None, found: list[int], *, archived: bool = archived
        ) -> None:
            query = JobQuery(created_from=instant(since), created_to=instant(until), archived=archived)
            listed = [job.id for job in (await storage.find(query)).jobs]
            assert listed == [sent[number] for number in reversed(found)]

        await check_each_async(cases, check)
        await archive(storage, jobs.clock)


ODD = {
    "word": "Grüße, “World” 🙂",
    "path": "C:\\new\tab\n\u0001\x7f",
    "quote": 'say "hi"',
    "share": "100%_sure\\",
    "n": [1.50, 100, -0.0, 1e-7, True, None],
    "deep": {"b": {"aa": [], "a": {}}},
    "İ": "K\u0131\u017f",
}
"""A payload of values that JSON escapes, and that LIKE, case folding and sorting may get wrong."""


async def test_jobs_are_found_by_a_text_in_their_json_as_postgres_writes_it(jobs: Driver) -> None:
    written = jsonb.dumps(ODD).replace("1.5,", "1.50,")
    await jobs.ended(RowState.COMPLETED)
    by_data = await jobs.running("post", data=written)
    await jobs.complete(by_data)
    by_output = await jobs.running("post")
    await jobs.complete(by_output, written)
    by_meta = await jobs.ended(RowState.COMPLETED, "post", meta=written)
    texts = [
        "grüße",
        "GRüßE",
        "“world”",
        "🙂",
        r"c:\\NEW\tab\n\u0001",
        "\x7f",
        r"SAY \"hi\"",
        "100%_sure",
        "%_",
        '"n": [1.50, 100, 0.0, 0.0000001, TRUE, null]',
        '"deep": {"b": {"a": {}, "aa": []}}',
        '{"n"',
        "\u0131\u017f",
        "İ",
    ]
    for archived in (False, True):

        async def check(text: str, *, archived: bool = archived) -> None:
            found = {job.id for job in (await jobs.storage.find(JobQuery(text=text, archived=archived))).jobs}
            assert found == {by_data.id, by_output.id, by_meta}

        await check_each_async(texts, check)
        await archive(jobs.storage, jobs.clock)


async def test_text_is_searched_literally_but_for_the_case_of_ascii(storage: Storage, jobs: Driver) -> None:
    job = await jobs.running(data=jsonb.dumps({**ODD, "share": "100 sure", "i": "\u0131sK"}))
    await jobs.complete(job, '"Kelv\u0131n"')
    texts = [
        "gruesse",
        "GRÜßE",
        "1_0%",
        "100_",
        "%",
        "\n",
        "i\u0307",
        "kelvin",
        '"a": {}, "b"',
        "is",
        "null}",
    ]
    for archived in (False, True):

        async def check(text: str, *, archived: bool = archived) -> None:
            assert (await storage.find(JobQuery(text=text, archived=archived))).jobs == []

        await check_each_async(texts, check)
        await archive(storage, jobs.clock)


async def test_jobs_are_found_by_a_part_of_their_id_or_their_singleton_key(jobs: Driver) -> None:
    by_id = await jobs.ended(RowState.COMPLETED, id=UUID("abcdef01-2345-7000-8000-00000000ffff"))
    by_key = await jobs.ended(RowState.COMPLETED, singleton_key="Order-ABCDEF01-23")
    await jobs.ended(RowState.COMPLETED, data='{"order": "abcdef"}')
    assert {job.id for job in (await jobs.storage.find(JobQuery(text="aBcDEF01-23"))).jobs} == {by_id, by_key}
    assert await found_both(jobs.storage, jobs.clock, text="-8000-00000000FFFF") == [by_id]


async def test_text_search_in_opaque_queues_covers_id_and_key_only(storage: Storage, jobs: Driver) -> None:
    inside = await jobs.ended(RowState.COMPLETED, data='"hunter2"')
    hidden = await jobs.ended(RowState.COMPLETED, "post", data='"hunter2"')
    by_key = await jobs.ended(RowState.COMPLETED, "post", singleton_key="hunter2")
    expected = {inside, by_key}
    assert set(await found_both(storage, jobs.clock, text="hunter2", opaque=("post", "other"))) == expected
    by_id = (await storage.find(JobQuery(text=str(hidden), opaque=("post",), archived=True))).jobs
    assert [job.id for job in by_id] == [hidden]


async def test_text_search_skips_queue_names_and_column_borders(storage: Storage, jobs: Driver) -> None:
    await jobs.send("order", singleton_key="left", data='"right"')
    for text in ("order", 'left"right', "left right"):
        assert (await storage.find(JobQuery(text=text))).jobs == []


async def test_filters_by_time_and_text_combine_with_the_others(storage: Storage, jobs: Driver) -> None:
    sent = []
    for number in range(6):
        sent.append(await jobs.send("mail" if number % 2 else "post", data=f'{{"to": "n{number // 3}"}}'))
        jobs.clock.advance(1)
    since = jobs.clock.now() - timedelta(seconds=5)
    query = JobQuery(names=("post",), created_from=since, text="N1", limit=1)
    assert [job.id for job in (await storage.find(query)).jobs] == [sent[4]]
    assert (await storage.find(replace(query, before=sent[4]))).jobs == []
    assert [job.id for job in (await storage.find(replace(query, text=None, before=sent[4]))).jobs] == [
        sent[2]
    ]


async def test_live_jobs_are_counted_by_queue_and_state(storage: Storage, jobs: Driver) -> None:
    assert await storage.queue_stats() == []
    await jobs.ended(RowState.FAILED, "post")
    await jobs.running("post")
    await jobs.send("post")
    await jobs.send("post")
    await jobs.send("mail")
    assert await storage.queue_stats() == [
        QueueStats("mail", {RowState.CREATED: 1}, 0.0),
        QueueStats("post", {RowState.FAILED: 1, RowState.ACTIVE: 1, RowState.CREATED: 2}, 0.0),
    ]


async def test_storage_returns_its_time(storage: Storage, clock: FrozenClock) -> None:
    assert await storage.now() == clock.now()
    clock.advance(1.000001)
    assert await storage.now() == clock.now()
