"""The newsroom's page, with the action to pause or resume a source."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import ReadTimeoutError, SchemaVersionError
from zeke_queue.storage.access import Scope
from zeke_queue.web.dashboard import Page, View
from zeke_queue.web.errors import ApiError
from zeke_queue.web.ids import parse_id
from zeke_tasks.playbooks.cancel import TASK, status_of
from zeke_tasks.store.model import SourceType
from zeke_tasks.stories.view import brief_value, neighbours, view, views

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from starlette.responses import Response

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.dashboard import PageRequest
    from zeke_tasks.store.model import Health, Source
    from zeke_tasks.store.repository import Repository, Rows

STORIES: Final = 25
"""Number of newest stories that are listed."""

RUNS: Final = 10
"""Number of latest playbook runs that are listed."""

SLUG: Final = "zeke"


def page() -> Page:
    """Return the page on the domain's tables in the jobs' database."""
    from zeke_tasks.store.postgres import PostgresRepository  # noqa: PLC0415 - a store in memory needs none

    return newsroom_page(PostgresRepository())


def newsroom_page(repository: Repository) -> Page:
    """Return the page on a store."""
    newsroom = _Newsroom(repository)
    return Page(
        slug=SLUG,
        title="Newsroom",
        views=(
            View("/", newsroom.overview),
            View("/stories/{story_id}", newsroom.story),
            View("/sources", newsroom.set_active, changes=True, scope=Scope.ADMIN),
        ),
        templates=Path(__file__).parent / "templates",
        key="z",
        needs=TASK,
    )


class _Newsroom:
    """The views on one store."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def overview(self, request: PageRequest) -> Response:
        """Show sources, stories and runs."""
        try:
            async with self._rows(request) as rows:
                sources = [(one, await rows.health(one.id)) for one in await rows.every_source()]
                found = await views(rows, await rows.newest_stories(STORIES))
                runs = await _runs(request, rows)
        except SchemaVersionError:
            return request.page("zeke/missing.html")
        return request.page(
            "zeke/newsroom.html",
            sources=[(one, known, condition(one, known)) for one, known in sources],
            stories=[(seen, brief_value(seen)) for seen in found],
            stories_most=STORIES,
            runs=runs,
            link=link,
        )

    async def story(self, request: PageRequest) -> Response:
        """Show a story: why it matters, its briefs, its highlights, and the nearest stories."""
        wanted = parse_id(request.words["story_id"], "No story has this id")
        async with self._rows(request) as rows:
            found = await rows.story(wanted)
            if found is None:
                raise ApiError(404, "No story has this id")
            seen, near = await view(rows, found), await neighbours(rows, wanted)
        reasons = seen.overlay.why_it_matters if seen.overlay else None
        return request.page(
            "zeke/story.html",
            seen=seen,
            brief=brief_value(seen),
            reasons=(reasons or "").splitlines(),
            near=near,
            link=link,
        )

    async def set_active(self, request: PageRequest) -> Response:
        """Pause or resume the checks of a source."""
        active = request.field("do") == "resume"
        source_id = parse_id(request.field("id"), "No source has this id")
        async with self._rows(request) as rows:
            source = await rows.source(source_id)
            if source is None:
                raise ApiError(404, "No source has this id")
            await rows.set_active(source.id, active=active)
        note = f"{source.name} {'is checked again' if active else 'is paused; its stories stay'}"
        return request.go(request.url(SLUG, ""), note)

    def _rows(self, request: PageRequest) -> AbstractAsyncContextManager[Rows]:
        return open_rows(self._repository, request.parts.queue)


@asynccontextmanager
async def open_rows(repository: Repository, queue: Queue) -> AsyncGenerator[Rows]:
    """Open a transaction, whose statements have no time limit of their own.

    Raises:
        ReadTimeoutError: the block takes longer than a search of jobs may; nothing was changed.
    """
    seconds = queue.settings.jobs_read_timeout
    try:
        async with asyncio.timeout(seconds), queue.transaction() as transaction:
            yield repository.within(transaction)
    except TimeoutError:
        why = f"The newsroom took longer than {seconds:g} s (JOBS_READ_TIMEOUT); raise it, or retry later"
        raise ReadTimeoutError(why) from None


async def _runs(request: PageRequest, rows: Rows) -> list[dict[str, Any]]:
    """Return the latest runs of all playbooks, each with its status."""
    found = [
        (run, playbook.name)
        for playbook in await rows.every_playbook()
        for run in await rows.runs_of(playbook.id)
    ]
    # Runs that have not begun are first.
    found.sort(key=lambda pair: -(pair[0].started_at.timestamp() if pair[0].started_at else math.inf))
    last = found[:RUNS]
    jobs = await parts_of(request.parts.queue).storage.get([run.id for run, _ in last]) if last else {}
    return [
        {"run": run, "playbook": name, "status": status_of(run, jobs.get(run.id)).value} for run, name in last
    ]


def condition(source: Source, known: Health | None) -> tuple[str, str]:
    """Return a source's condition: the state for shape and colour, and a label."""
    if source.type is SourceType.MANUAL:
        return "created", "By hand"
    if not source.is_active:
        return "paused", "Paused"
    if known is None:
        return "created", "Unchecked"
    return {"ok": ("completed", "Well"), "warn": ("retry", "Warns")}.get(
        known.status.value, ("failed", "Fails")
    )


def link(url: str | None) -> str | None:
    """Return a url if it is safe to link; None for other schemes."""
    try:
        return url if url and urlsplit(url).scheme in ("http", "https") else None
    except ValueError:
        return None
