"""``fetch-content``: the result of each item, and which are retried."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.cases import each
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.pdfs import pdf
from zeke_queue.errors import PayloadValidationError
from zeke_queue.model import RowState
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Fetched, Permanent, Transient, articles, content_hash
from zeke_tasks.fetch.completeness import Found
from zeke_tasks.store.model import ItemStatus, Kind
from zeke_tasks.stories.items import ITEM_ATTEMPTS
from zeke_tasks.stories.view import story_value, view
from zeke_tasks.testing.web import ScriptedWeb, fetched, page

JOB = UUID(int=7)
ONE, TWO, THREE = (f"https://a.example/{number}" for number in (1, 2, 3))


async def _item(jobs: Jobs, url: str | None, **about: object) -> UUID:
    source = await jobs.domain.source()
    return await jobs.domain.item(source, url or "no url", url=url, **about)


async def _fetch(jobs: Jobs, *items: UUID, job_id: UUID | None = None) -> dict[str, object]:
    return await jobs.run("fetch-content", {"rawItemIds": items}, job_id=job_id)


async def test_page_becomes_a_story(jobs: Jobs) -> None:
    published = jobs.domain.clock.now()
    item_id = await _item(jobs, ONE, title="From the feed", published_at=published)
    older = (
        f'<meta property="article:published_time" content="{(published - timedelta(days=9)).isoformat()}">'
    )
    jobs.web.put(ONE, page("From the page", "bees").replace("</head>", f"{older}</head>"))
    assert await _fetch(jobs, item_id) == {"items": {"processed": 1}, "stories": 1}
    item = await jobs.domain.look(item_id)
    content = await jobs.domain.verbs.content(item_id)
    story = await jobs.domain.story_of(item_id)
    assert (item.status, item.attempts, item.error) == (ItemStatus.PROCESSED, 1, None)
    assert content is not None
    assert "bees" in content.text
    assert (content.content_hash, content.html_url) == (content_hash(content.text), ONE)
    assert (story.title, story.url, story.published_at) == ("From the feed", ONE, published)
    assert (story.kind, story.primary_source_id) == (Kind.ARTICLE, item.source_id)
    (sent,) = await jobs.sent("analyze-story")
    assert sent.data == {"storyId": str(story.id), "trigger": "auto"}


async def test_story_of_a_part_of_an_article_is_marked(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [await _item(jobs, url) for url in (ONE, TWO)]
    jobs.web.put(ONE, page("A page", "bees"))
    jobs.web.put(TWO, page("Another", "wasps"))
    monkeypatch.setattr(articles, "completed", lambda text, _: Found(text, is_partial="bees" in text))
    await _fetch(jobs, *items)
    for item_id, is_partial in zip(items, (True, False), strict=True):
        story = await jobs.domain.story_of(item_id)
        assert story.is_partial is is_partial
        assert story_value(await view(jobs.domain.verbs, story))["isPartial"] is is_partial


async def test_title_of_page_is_read_in_the_charset_of_its_server(jobs: Jobs) -> None:
    """The page's title is used where the feed has none."""
    item_id = await _item(jobs, ONE)
    answer = fetched(ONE, content_type="text/html; charset=windows-1251")
    jobs.web.put(ONE, replace(answer, body=page("Пчёлы", "пчёлах").encode("windows-1251")))
    await _fetch(jobs, item_id)
    assert (await jobs.domain.story_of(item_id)).title == "Пчёлы"


async def test_future_publication_date_is_ignored(jobs: Jobs) -> None:
    past, to_come = await _item(jobs, ONE), await _item(jobs, TWO)
    now = jobs.domain.clock.now()
    for url, moment in ((ONE, now - timedelta(days=30)), (TWO, now + timedelta(days=30))):
        meta = f'<meta property="article:published_time" content="{moment.isoformat()}">'
        jobs.web.put(url, page(url, url).replace("</head>", f"{meta}</head>"))
    await _fetch(jobs, past, to_come)
    stories = await jobs.domain.stories(past, to_come)
    assert stories[past].published_at == now - timedelta(days=30)
    assert stories[to_come].published_at is None


async def test_text_under_two_urls_is_one_story(jobs: Jobs) -> None:
    one, two = await _item(jobs, ONE), await _item(jobs, TWO)
    for url in (ONE, TWO):
        # What Postgres cannot hold is removed.
        jobs.web.put(url, page("A\x00", "be\x00es"))
    assert await _fetch(jobs, one, two) == {"items": {"processed": 2}, "stories": 1}
    stories = await jobs.domain.stories(one, two)
    assert stories[one] == stories[two]
    assert len(await jobs.sent("analyze-story")) == 1


async def test_entry_without_page_is_read_from_its_own_text(jobs: Jobs) -> None:
    item_id = await _item(jobs, None, body="<p>Bees &amp; <b>flowers</b>.</p><p>Trees.</p>")
    await _fetch(jobs, item_id)
    assert (await jobs.domain.content(item_id)).text == "Bees & flowers.\nTrees."
    empty = await jobs.domain.item(await jobs.domain.source(), "empty")
    await _fetch(jobs, empty)
    assert (await jobs.domain.look(empty)).status is ItemStatus.NO_TEXT
    assert jobs.web.asked == []


@each("<html><body></body></html>", "", fetched(ONE, "GIF89a", content_type="image/gif"))
async def test_page_without_text_is_marked(answer: str) -> None:
    jobs = memory_jobs()
    item_id = await _item(jobs, ONE)
    jobs.web.put(ONE, answer)
    assert await _fetch(jobs, item_id) == {"items": {"no_text_extracted": 1}, "stories": 0}
    assert await jobs.sent("analyze-story") == []


async def test_pdf_becomes_a_story_of_its_kind(jobs: Jobs) -> None:
    item_id = await _item(jobs, ONE)
    body = pdf(["On Bees", "Bees make honey."], info={"Title": "On Bees", "CreationDate": "D:20200102"})
    jobs.web.put(ONE, replace(fetched(ONE, content_type="application/pdf"), body=body))
    assert await _fetch(jobs, item_id) == {"items": {"processed": 1}, "stories": 1}
    content = await jobs.domain.verbs.content(item_id)
    story = await jobs.domain.story_of(item_id)
    assert content is not None
    assert content.text.split() == ["On", "Bees", "Bees", "make", "honey."]
    assert (content.html_url, content.pdf_url) == (None, ONE)
    assert (story.kind, story.title, story.url) == (Kind.PDF, "On Bees", ONE)
    assert story.published_at == datetime(2020, 1, 2, tzinfo=UTC)
    assert (await jobs.domain.look(item_id)).kind is Kind.ARTICLE


async def test_scanned_pdf_has_no_text_and_broken_pdf_fails(jobs: Jobs) -> None:
    scanned, broken, locked = [await _item(jobs, url) for url in (ONE, TWO, THREE)]
    for url, body in ((ONE, pdf([])), (TWO, b"%PDF-1.7"), (THREE, pdf(["Bees"], locked=True))):
        jobs.web.put(url, replace(fetched(url, content_type="application/pdf"), body=body))
    told = await _fetch(jobs, scanned, broken, locked)
    assert told == {"items": {"no_text_extracted": 1, "failed": 2}, "stories": 0}
    assert "broken" in str((await jobs.domain.look(broken)).error)
    assert "password" in str((await jobs.domain.look(locked)).error)


async def test_missing_page_fails_its_item_and_not_the_job(jobs: Jobs) -> None:
    gone, there = await _item(jobs, ONE), await _item(jobs, TWO)
    jobs.web.put(ONE, Permanent(ONE, "answered 410 Gone", status=410))
    jobs.web.put(TWO, page("A", "bees"))
    assert await _fetch(jobs, gone, there) == {"items": {"failed": 1, "processed": 1}, "stories": 1}
    item = await jobs.domain.look(gone)
    assert (item.attempts, item.error) == (1, f"{ONE}: answered 410 Gone")


async def test_only_pending_items_are_fetched_again(jobs: Jobs) -> None:
    one, two, three = [await _item(jobs, url) for url in (ONE, TWO, THREE)]
    jobs.web.put(ONE, page("A", "bees"))
    jobs.web.put(TWO, Transient(TWO, "no answer", retry_after=5), page("B", "birds"))
    jobs.web.put(THREE, Transient(THREE, "no answer", retry_after=30), page("C", "trees"))
    with pytest.raises(Retry) as raised:
        await _fetch(jobs, one, two, three, job_id=JOB)
    assert raised.value.after == 30
    assert "2 of 3" in str(raised.value)
    assert len(await jobs.sent("analyze-story")) == 1
    left = await jobs.domain.look(two)
    assert (left.status, left.attempts, left.error) == (ItemStatus.PENDING, 1, f"{TWO}: no answer")
    assert (await jobs.domain.look(one)).status is ItemStatus.PROCESSED
    jobs.web.asked.clear()
    told = await _fetch(jobs, one, two, three, job_id=JOB)
    assert told == {"items": {"processed": 3}, "stories": 3}
    assert len(await jobs.sent("analyze-story")) == 3
    assert {asked.url for asked in jobs.web.asked} == {TWO, THREE}
    item = await jobs.domain.look(two)
    assert (item.attempts, item.error) == (2, None)


async def test_item_fails_after_its_last_attempt(jobs: Jobs) -> None:
    item_id = await _item(jobs, ONE)
    jobs.web.put(ONE, Transient(ONE, "no answer"))
    for _ in range(ITEM_ATTEMPTS - 1):
        with pytest.raises(Retry) as raised:
            await _fetch(jobs, item_id)
        # The server named no time, so the policy decides.
        assert raised.value.after is None
    assert await _fetch(jobs, item_id) == {"items": {"failed": 1}, "stories": 0}
    item = await jobs.domain.look(item_id)
    assert (item.attempts, item.error) == (ITEM_ATTEMPTS, f"{ONE}: no answer")


@each(ImportError("no lxml_html_clean"), MemoryError(), AttributeError("x"), ZeroDivisionError("oh"))
async def test_internal_error_fails_job_and_leaves_item_pending(fault: Exception) -> None:
    jobs = memory_jobs()
    odd = await _item(jobs, ONE)
    jobs.web.put(ONE, *[fault] * ITEM_ATTEMPTS, page("A", "bees"))
    for _ in range(ITEM_ATTEMPTS):
        with pytest.raises(type(fault)):
            await _fetch(jobs, odd)
    item = await jobs.domain.look(odd)
    assert (item.status, item.attempts, item.error) == (ItemStatus.PENDING, 0, None)
    assert await _fetch(jobs, odd) == {"items": {"processed": 1}, "stories": 1}


async def test_other_items_are_done_before_internal_error_fails_job(jobs: Jobs) -> None:
    late, odd, there = [await _item(jobs, url) for url in (ONE, TWO, THREE)]
    jobs.web.put(ONE, Transient(ONE, "no answer"))
    jobs.web.put(TWO, ZeroDivisionError("oh"))
    jobs.web.put(THREE, page("A", "bees"))
    with pytest.raises(ZeroDivisionError):
        await _fetch(jobs, late, odd, there)
    assert (await jobs.domain.look(late)).attempts == 1
    assert (await jobs.domain.look(there)).status is ItemStatus.PROCESSED


async def test_missing_parser_library_leaves_item_pending(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    item_id = await _item(jobs, ONE)
    jobs.web.put(ONE, page("A", "bees"))
    with monkeypatch.context() as broken:
        broken.setitem(sys.modules, "trafilatura", None)
        with pytest.raises(ImportError, match="trafilatura"):
            await _fetch(jobs, item_id)
    assert await _fetch(jobs, item_id) == {"items": {"processed": 1}, "stories": 1}


async def test_item_finished_by_another_job_meanwhile_is_kept(jobs: Jobs) -> None:
    class Overtaken(ScriptedWeb):
        """Runs another job for the item while this one waits for its page."""

        async def fetch(self, url: str, **how: Any) -> Fetched:
            answer = await super().fetch(url, **how)
            if len(self.asked) == 1:
                await _fetch(jobs, item_id)
            return answer

    web = Overtaken()
    jobs.resources = replace(jobs.resources, web=web)
    item_id = await _item(jobs, ONE)
    web.put(ONE, page("Late", "birds"), page("First", "bees"))
    assert await _fetch(jobs, item_id) == {"items": {"processed": 1}, "stories": 1}
    content = await jobs.domain.content(item_id)
    assert "bees" in content.text
    assert (await jobs.domain.story_of(item_id)).title == "First"
    assert (await jobs.domain.look(item_id)).attempts == 1


async def test_unknown_items_are_skipped_and_an_empty_list_is_refused(jobs: Jobs) -> None:
    assert await _fetch(jobs, UUID(int=1)) == {"items": {}, "stories": 0}
    with pytest.raises(PayloadValidationError, match="rawItemIds"):
        await _fetch(jobs)


async def test_story_is_analysed_again_only_if_its_analysis_failed(jobs: Jobs) -> None:
    for url in (ONE, TWO, THREE):
        jobs.web.put(url, page("A", "bees"))
    await _fetch(jobs, await _item(jobs, ONE))
    (first,) = await jobs.sent("analyze-story")
    # A waiting analysis serves another item.
    await _fetch(jobs, await _item(jobs, TWO))
    assert [job.id for job in await jobs.sent("analyze-story")] == [first.id]
    assert await jobs.queue.cancel(first.id)
    await _fetch(jobs, await _item(jobs, THREE))
    (second,) = [job for job in await jobs.sent("analyze-story") if job.id != first.id]
    assert second.row_state is RowState.CREATED


async def test_analysed_story_is_not_analysed_again(jobs: Jobs) -> None:
    for url in (ONE, TWO):
        jobs.web.put(url, page("A", "bees"))
    await _fetch(jobs, await _item(jobs, ONE))
    (first,) = await jobs.sent("analyze-story")
    await jobs.run("analyze-story", first.data)
    assert await jobs.queue.cancel(first.id)
    await _fetch(jobs, await _item(jobs, TWO))
    assert len(await jobs.sent("analyze-story")) == 1
