"""Pages of lists: how many jobs and bytes each has, and which parts of a job are read.

What holds for live jobs holds for archived ones, so most tests check a list, archive all, and check it again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.cases import check_each_async
from tests.conformance.driver import Driver
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import CARRIED, Job, JobPage, JobQuery, JobStatus
from zeke_queue.storage import Storage


async def live_and_archived(jobs: Driver) -> AsyncIterator[bool]:
    """Yield False, archive all ended jobs, and yield True."""
    yield False
    jobs.clock.advance(1)
    assert await jobs.storage.archive(0, 1_000)
    yield True


async def ended(jobs: Driver, output: str | None = None, **options: Any) -> UUID:
    job = await jobs.running(**options)
    assert await jobs.complete(job, output)
    jobs.clock.advance(1)
    return job.id


def ids(page: JobPage) -> list[UUID]:
    return [job.id for job in page.jobs]


async def test_page_reports_whether_more_jobs_follow(storage: Storage, jobs: Driver) -> None:
    for archived in (False, True):
        assert await storage.find(JobQuery(archived=archived)) == JobPage([], has_more=False)
    sent = [await ended(jobs) for _ in range(3)]
    async for archived in live_and_archived(jobs):
        for limit in (1, 2):
            page = await storage.find(JobQuery(archived=archived, limit=limit))
            assert (ids(page), page.has_more) == (sent[: -limit - 1 : -1], True)
        for limit in (3, 4, 1000):
            page = await storage.find(JobQuery(archived=archived, limit=limit))
            assert (ids(page), page.has_more) == (sent[::-1], False)
        behind = await storage.find(JobQuery(archived=archived, before=sent[1], limit=1))
        assert (ids(behind), behind.has_more) == (sent[:1], False)
        assert await storage.find(JobQuery(archived=archived, before=sent[0])) == JobPage([], has_more=False)


async def test_page_length_out_of_range_is_refused(storage: Storage) -> None:
    async def check(limit: int) -> None:
        with pytest.raises(InvalidOptionError, match=rf"^limit: must be from 1 to 1000, got {limit}$"):
            await storage.find(JobQuery(limit=limit))

    await check_each_async([0, -1, 1001], check)


async def test_page_ends_before_its_jobs_exceed_the_bytes(storage: Storage, jobs: Driver) -> None:
    sent = [await ended(jobs, data='"1234567890"') for _ in range(3)]
    async for archived in live_and_archived(jobs):

        async def check(bytes_max: int | None, listed: int, *, archived: bool = archived) -> None:
            query = JobQuery(archived=archived, bytes_max=bytes_max)
            page = await storage.find(query)
            assert (ids(page), page.has_more) == (sent[::-1][:listed], listed < 3)
            # Whether a page ends by its number or by its bytes, the next one begins behind its last job.
            behind = await storage.find(replace(query, before=page.jobs[-1].id))
            assert ids(behind) == sent[::-1][listed : 2 * listed]

        await check_each_async(
            [(1, 1), (17, 1), (23, 1), (24, 2), (35, 2), (36, 3), (10**9, 3), (None, 3)], check
        )


async def test_page_has_no_more_jobs_than_its_limit_within_its_bytes(storage: Storage, jobs: Driver) -> None:
    sent = [await ended(jobs, data='"abc"') for _ in range(3)]
    async for archived in live_and_archived(jobs):
        for limit in (1, 2):
            page = await storage.find(JobQuery(archived=archived, bytes_max=10_000, limit=limit))
            assert (ids(page), page.has_more) == (sent[::-1][:limit], True)


async def test_every_job_is_on_one_page_whatever_its_size(storage: Storage, jobs: Driver) -> None:
    data = ['"' + "a" * length + '"' for length in (5, 100, 0, 40, 3, 3, 100, 100)]
    sent = [await ended(jobs, data=one) for one in data]
    async for archived in live_and_archived(jobs):
        query, seen = JobQuery(archived=archived, bytes_max=60, limit=3), []
        more = True
        while more:
            page = await storage.find(query)
            seen.append(len(page.jobs))
            query, more = replace(query, before=page.jobs[-1].id), page.has_more
            assert ids(page) == sent[::-1][sum(seen[:-1]) : sum(seen)]
        assert seen == [1, 1, 3, 1, 1, 1]


class Written(NamedTuple):
    """A JSON value as the sender writes it, and as Postgres prints the stored one."""

    sent: str
    stored: str

    @property
    def size(self) -> int:
        return len(self.stored.encode())


def text_of(value: str, *, ascii_only: bool) -> Written:
    return Written(json.dumps(value, ensure_ascii=ascii_only), json.dumps(value, ensure_ascii=False))


def number_of(digits: str) -> Written:
    value = Decimal(digits)
    return Written(digits, format(value or abs(value), "f"))


def array_of(items: list[Written]) -> Written:
    stored = ", ".join(one.stored for one in items)
    return Written(f"[{','.join(one.sent for one in items)}]", f"[{stored}]")


def object_of(items: dict[str, Written]) -> Written:
    keys = {key: text_of(key, ascii_only=True) for key in items}
    sent = ",".join(f"{keys[key].sent}:{one.sent}" for key, one in items.items())
    stored = ", ".join(f"{keys[key].stored}: {one.stored}" for key, one in items.items())
    return Written(f"{{{sent}}}", f"{{{stored}}}")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NUMBERS = st.builds(
    "{}{}{}".format,
    st.integers(-(10**20), 10**20),
    st.sampled_from(["", ".0", ".50", ".125"]),
    st.sampled_from(["", "e0", "e3", "e-7", "e-20", "e300"]),
)
LEAVES = st.one_of(
    st.sampled_from(["null", "true", "false"]).map(lambda word: Written(word, word)),
    st.builds(text_of, TEXTS, ascii_only=st.booleans()),
    NUMBERS.map(number_of),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(array_of), st.dictionaries(TEXTS, inner, max_size=4).map(object_of)
    ),
    max_leaves=8,
)


@pytest.fixture
def names() -> Iterator[str]:
    """Names of queues, each of which is used once."""
    return (f"queue-{number}" for number in count())


@given(value=VALUES)
@example(value=number_of("-1e131071"))
@example(value=number_of("-0.0"))
@example(value=text_of("ü🙂", ascii_only=True))
@example(value=object_of({"ü": number_of("1.50"), "a": array_of([])}))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_bytes_are_those_of_the_text_that_postgres_writes(
    storage: Storage, jobs: Driver, names: Iterator[str], value: Written
) -> None:
    """Each example has queues of its own, since the storage is that of the test."""
    columns = {"data": value, "output": value, "meta": object_of({"k": value})}
    queues = dict(zip(columns, names, strict=False))
    for column, written in columns.items():
        for _ in range(2):
            await ended(jobs, name=queues[column], **{column: written.sent})
    async for archived in live_and_archived(jobs):
        for column, written in columns.items():
            for bytes_max, listed in ((2 * written.size - 1, 1), (2 * written.size, 2)):
                query = JobQuery(names=(queues[column],), archived=archived, bytes_max=bytes_max)
                assert len((await storage.find(query)).jobs) == listed, (column, archived, bytes_max)


async def test_bytes_of_jobs_of_one_moment_count_in_the_order_of_the_list(jobs: Driver) -> None:
    lengths = (1_000, 100, 10)
    sent = [await jobs.running(data='"' + "a" * (length - 2) + '"') for length in lengths]
    for job in sent:
        assert await jobs.complete(job)
    newest = sorted((job.id for job in sent), reverse=True)
    assert newest == [job.id for job in reversed(sent)]
    async for archived in live_and_archived(jobs):

        async def check(bytes_max: int, listed: int, *, archived: bool = archived) -> None:
            found = await jobs.storage.find(JobQuery(archived=archived, bytes_max=bytes_max))
            assert len({job.created_on for job in found.jobs}) == 1
            assert (ids(found), found.has_more) == (newest[:listed], listed < 3)

        await check_each_async([(109, 1), (110, 2), (1_109, 2), (1_110, 3)], check)


async def test_payload_output_and_meta_count_together_and_the_history_does_not(jobs: Driver) -> None:
    for _ in range(2):
        job = await jobs.running(data='"1234"', meta='{"k": 1}')
        await jobs.fail(job, None, '{"type": "E"}')
        jobs.clock.advance(1)
    together = 2 * (6 + 8 + 13)
    for bytes_max, listed in ((together - 1, 1), (together, 2)):
        assert len((await jobs.storage.find(JobQuery(bytes_max=bytes_max))).jobs) == listed


async def test_excluded_parts_are_not_read_and_have_no_bytes(storage: Storage, jobs: Driver) -> None:
    for _ in range(2):
        job = await jobs.running(data='"payload"', meta='{"some": "meta"}')
        await jobs.fail(job)
        jobs.clock.advance(1)
    nothing: dict[str, Any] = {**dict.fromkeys(CARRIED), "history": ()}
    sizes = {"data": 9, "output": 60, "meta": 16, "history": 0}
    parts = [*((part,) for part in CARRIED), ("data", "meta"), CARRIED, ()]
    async for archived in live_and_archived(jobs):
        whole = (await storage.find(JobQuery(archived=archived))).jobs
        assert all(getattr(whole[0], part) != nothing[part] for part in CARRIED)

        async def check(
            without: tuple[str, ...], *, archived: bool = archived, whole: list[Job] = whole
        ) -> None:
            bare = (await storage.find(JobQuery(archived=archived, without=without))).jobs
            assert bare == [replace(job, **{part: nothing[part] for part in without}) for job in whole]
            size = 2 * sum(sizes[part] for part in CARRIED if part not in without)
            for bytes_max, listed in ((size, 2), *(((size - 1, 1),) if size else ())):
                query = JobQuery(archived=archived, without=without, bytes_max=max(1, bytes_max))
                assert (await storage.find(query)).jobs == bare[:listed]

        await check_each_async({f"{without}": (without,) for without in parts}, check)


async def test_text_is_found_in_excluded_parts(storage: Storage, jobs: Driver) -> None:
    job_id = await ended(jobs, data='"needle"')
    async for archived in live_and_archived(jobs):
        query = JobQuery(archived=archived, text="NEEDLE", without=CARRIED, bytes_max=1)
        (job,) = (await storage.find(query)).jobs
        assert (job.id, job.data) == (job_id, None)


async def test_jobs_are_listed_by_their_ids(storage: Storage, jobs: Driver) -> None:
    sent = [await ended(jobs) for _ in range(4)]
    async for archived in live_and_archived(jobs):
        query = JobQuery(archived=archived, ids=(sent[0], sent[2], sent[3], jobs.new_id()))
        assert [job.id for job in (await storage.find(query)).jobs] == [sent[3], sent[2], sent[0]]
        assert ids(await storage.find(replace(query, before=sent[3], limit=1))) == [sent[2]]
        assert (await storage.find(replace(query, archived=not archived))).jobs == []
        assert (await storage.find(replace(query, status=(JobStatus.FAILED,)))).jobs == []


async def test_list_by_no_ids_is_empty_and_one_without_ids_has_all(storage: Storage, jobs: Driver) -> None:
    sent = [await ended(jobs) for _ in range(2)]
    async for archived in live_and_archived(jobs):
        empty = JobQuery(archived=archived, ids=())
        assert (await storage.find(empty)).jobs == []
        assert await storage.find(replace(empty, bytes_max=1)) == JobPage([], has_more=False)
        assert (await storage.find(replace(empty, before=sent[1]))).jobs == []
        assert ids(await storage.find(replace(empty, ids=None))) == sent[::-1]
