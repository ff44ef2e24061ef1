"""Pages of lists: how many jobs, of how many bytes, and what of each job is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from zeke_queue.errors import BadOption, JobNotFound
from zeke_queue.model import CARRIED, JobFilter, JobState, Page

if TYPE_CHECKING:
    from uuid import UUID

    from tests.clocks import FrozenClock
    from tests.conformance.driver import Driver
    from zeke_queue.storage.store import Storage


@pytest.fixture(params=[False, True], ids=["live", "archived"])
def archived(request: pytest.FixtureRequest) -> bool:
    """Whether the jobs that are listed are archived ones."""
    return request.param


async def ended(
    storage: Storage, jobs: Driver, *, archived: bool, output: str | None = None, **options: Any
) -> UUID:
    """Send a job and complete it; archive it if those are listed."""
    job = await jobs.running(**options)
    assert await jobs.complete(job, output)
    jobs.clock.advance(1)
    if archived:
        assert await storage.archive(0, 10) == 1
    return job.id


def ids(page: Page) -> list[UUID]:
    return [job.id for job in page.jobs]


async def test_a_page_tells_whether_more_jobs_come_behind_it(
    storage: Storage, jobs: Driver, *, archived: bool
) -> None:
    assert await storage.page(JobFilter(archived=archived)) == Page([], more=False)
    sent = [await ended(storage, jobs, archived=archived) for _ in range(3)]
    for limit in (1, 2):
        page = await storage.page(JobFilter(archived=archived, limit=limit))
        assert (ids(page), page.more) == (sent[: -limit - 1 : -1], True)
    for limit in (3, 4, 1000):
        page = await storage.page(JobFilter(archived=archived, limit=limit))
        assert (ids(page), page.more) == (sent[::-1], False)
    behind = await storage.page(JobFilter(archived=archived, before=sent[1], limit=1))
    assert (ids(behind), behind.more) == (sent[:1], False)
    assert await storage.page(JobFilter(archived=archived, before=sent[0])) == Page([], more=False)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_of_no_length_or_too_long_a_one_is_refused(storage: Storage, limit: int) -> None:
    with pytest.raises(BadOption, match="limit"):
        await storage.page(JobFilter(limit=limit))


async def test_a_page_behind_a_job_that_is_not_there_is_an_error(storage: Storage, jobs: Driver) -> None:
    with pytest.raises(JobNotFound):
        await storage.page(JobFilter(before=jobs.new_id()))


@pytest.mark.parametrize(
    ("bytes_max", "listed"), [(1, 1), (17, 1), (23, 1), (24, 2), (35, 2), (36, 3), (10**9, 3), (None, 3)]
)
async def test_a_page_ends_where_its_jobs_have_too_many_bytes(
    storage: Storage, jobs: Driver, *, archived: bool, bytes_max: int | None, listed: int
) -> None:
    data = '"1234567890"'
    sent = [await ended(storage, jobs, archived=archived, data=data) for _ in range(3)]
    which = JobFilter(archived=archived, bytes_max=bytes_max)
    page = await storage.page(which)
    assert (ids(page), page.more) == (sent[::-1][:listed], listed < 3)
    assert await storage.find(which) == page.jobs
    # Whether the list ends by its number or by its bytes, its next page begins behind its last job.
    behind = await storage.page(replace(which, before=page.jobs[-1].id))
    assert ids(behind) == sent[::-1][listed : 2 * listed]


@pytest.mark.parametrize("limit", [1, 2])
async def test_the_number_of_a_page_counts_though_its_bytes_would_let_more_in(
    storage: Storage, jobs: Driver, *, archived: bool, limit: int
) -> None:
    sent = [await ended(storage, jobs, archived=archived, data='"abc"') for _ in range(3)]
    page = await storage.page(JobFilter(archived=archived, bytes_max=10_000, limit=limit))
    assert (ids(page), page.more) == (sent[::-1][:limit], True)


async def test_every_job_is_on_one_page_however_large(
    storage: Storage, jobs: Driver, *, archived: bool
) -> None:
    data = ['"' + "a" * length + '"' for length in (5, 100, 0, 40, 3, 3, 100, 100)]
    sent = [await ended(storage, jobs, archived=archived, data=one) for one in data]
    which, seen = JobFilter(archived=archived, bytes_max=60, limit=3), []
    more = True
    while more:
        page = await storage.page(which)
        seen.append(len(page.jobs))
        which, more = replace(which, before=page.jobs[-1].id), page.more
        assert ids(page) == sent[::-1][sum(seen[:-1]) : sum(seen)]
    assert seen == [1, 1, 3, 1, 1, 1]


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ('"ü🙂"', 8),
        (r'"\u00fc"', 4),
        ('{"b":1,"a":[1,2]}', 21),
        ("1e300", 301),
        ("1.50", 4),
        ("[1e-20]", 24),
        ("-1e131071", 131_073),
        ("null", 4),
    ],
)
@pytest.mark.parametrize("where", ["data", "output", "meta"])
async def test_bytes_are_those_of_the_text_that_postgres_writes(
    storage: Storage, jobs: Driver, *, archived: bool, written: str, size: int, where: str
) -> None:
    if where == "meta":
        written, size = f'{{"k":{written}}}', size + len('{"k": }')
    for _ in range(2):
        await ended(storage, jobs, archived=archived, **{where: written})
    for bytes_max, listed in ((2 * size - 1, 1), (2 * size, 2)):
        found = await storage.find(JobFilter(archived=archived, bytes_max=bytes_max))
        assert len(found) == listed, bytes_max


@pytest.mark.parametrize(("bytes_max", "listed"), [(109, 1), (110, 2), (1_109, 2), (1_110, 3)])
async def test_jobs_of_one_moment_count_in_the_order_in_which_they_are_listed(
    storage: Storage, jobs: Driver, *, archived: bool, bytes_max: int, listed: int
) -> None:
    lengths = (1_000, 100, 10)
    sent = [await jobs.running(data='"' + "a" * (length - 2) + '"') for length in lengths]
    for job in sent:
        assert await jobs.complete(job)
    if archived:
        jobs.clock.advance(1)
        assert await storage.archive(0, 10) == 3
    newest = sorted((job.id for job in sent), reverse=True)
    assert newest == [job.id for job in reversed(sent)]
    found = await storage.page(JobFilter(archived=archived, bytes_max=bytes_max))
    assert len({job.created_on for job in found.jobs}) == 1
    assert (ids(found), found.more) == (newest[:listed], listed < 3)


async def test_payload_output_and_meta_count_together_and_the_history_does_not(
    storage: Storage, jobs: Driver
) -> None:
    for _ in range(2):
        job = await jobs.running(data='"1234"', meta='{"k": 1}')
        await jobs.fail(job, None, '{"type": "E"}')
        jobs.clock.advance(1)
    together = 2 * (6 + 8 + 13)
    for bytes_max, listed in ((together - 1, 1), (together, 2)):
        assert len(await storage.find(JobFilter(bytes_max=bytes_max))) == listed


@pytest.mark.parametrize("without", [*((part,) for part in CARRIED), ("data", "meta"), CARRIED, ()])
async def test_what_is_not_asked_for_is_not_read_and_has_no_bytes(
    storage: Storage, jobs: Driver, *, archived: bool, without: tuple[str, ...]
) -> None:
    for _ in range(2):
        job = await jobs.running(data='"payload"', meta='{"some": "meta"}')
        await jobs.fail(job)
        jobs.clock.advance(1)
    if archived:
        assert await storage.archive(0, 10) == 2
    whole = await storage.find(JobFilter(archived=archived))
    nothing: dict[str, Any] = {**dict.fromkeys(CARRIED), "history": ()}
    assert all(getattr(whole[0], part) != nothing[part] for part in CARRIED)
    bare = await storage.find(JobFilter(archived=archived, without=without))
    assert bare == [replace(job, **{part: nothing[part] for part in without}) for job in whole]
    sizes = {"data": 9, "output": 60, "meta": 16, "history": 0}
    size = 2 * sum(sizes[part] for part in CARRIED if part not in without)
    for bytes_max, listed in ((size, 2), *(((size - 1, 1),) if size else ())):
        which = JobFilter(archived=archived, without=without, bytes_max=max(1, bytes_max))
        assert await storage.find(which) == bare[:listed]


async def test_a_text_is_found_in_what_is_not_read(storage: Storage, jobs: Driver, *, archived: bool) -> None:
    job_id = await ended(storage, jobs, archived=archived, data='"needle"')
    (job,) = await storage.find(JobFilter(archived=archived, text="NEEDLE", without=CARRIED, bytes_max=1))
    assert (job.id, job.data) == (job_id, None)


async def test_jobs_are_listed_by_their_ids(
    storage: Storage, jobs: Driver, clock: FrozenClock, *, archived: bool
) -> None:
    sent = [await ended(storage, jobs, archived=archived) for _ in range(4)]
    which = JobFilter(archived=archived, ids=(sent[0], sent[2], sent[3], jobs.new_id()))
    assert [job.id for job in await storage.find(which)] == [sent[3], sent[2], sent[0]]
    assert ids(await storage.page(replace(which, before=sent[3], limit=1))) == [sent[2]]
    assert await storage.find(replace(which, archived=not archived)) == []
    assert await storage.find(replace(which, states=(JobState.FAILED,))) == []


async def test_a_list_by_no_ids_has_no_jobs_and_one_that_is_not_by_ids_has_all(
    storage: Storage, jobs: Driver, *, archived: bool
) -> None:
    sent = [await ended(storage, jobs, archived=archived) for _ in range(2)]
    nobody = JobFilter(archived=archived, ids=())
    assert await storage.find(nobody) == []
    assert await storage.page(replace(nobody, bytes_max=1)) == Page([], more=False)
    assert await storage.find(replace(nobody, before=sent[1])) == []
    assert ids(await storage.page(replace(nobody, ids=None))) == sent[::-1]
