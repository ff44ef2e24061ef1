"""``zeke upload FILE…``: ingest a user's documents and items, and analyse their stories."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from zeke_queue.errors import UsageError
from zeke_queue.model import JobStatus
from zeke_queue.task.task import Send
from zeke_tasks.cli.report import findings
from zeke_tasks.cli.run_jobs import JobRunner, open_job_runner
from zeke_tasks.fetch.parser_pool import ParserKilled, Unreadable
from zeke_tasks.ingest.files import chunks, read_file
from zeke_tasks.payloads import IngestFromUpload
from zeke_tasks.store.model import IDS, NewItem, NewSource, SourceType, item_id
from zeke_tasks.stories.view import views

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from zeke_queue.model import Job
    from zeke_queue.system.settings import Settings
    from zeke_tasks.cli.report import Finding
    from zeke_tasks.payloads import UploadedItem
    from zeke_tasks.store.analysis import Spending
    from zeke_tasks.store.model import Source
    from zeke_tasks.stories.view import StoryView

FILE_BYTES: Final = 15 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The results of an upload.

    Attributes:
        source: the source of the items.
        found: the items.
        stories: their stories, with all details.
        jobs: all jobs that were waited for.
        spent: the AI usage of these jobs.
    """

    source: Source
    found: list[Finding]
    stories: list[StoryView]
    jobs: list[Job]
    spent: list[Spending]

    @property
    def is_complete(self) -> bool:
        """Whether everything was read, analysed and summarized."""
        return (
            all(job.status is JobStatus.COMPLETED for job in self.jobs)
            and all(finding.story is not None for finding in self.found)
            and all(seen.analysed for seen in self.stories)
        )


async def upload(
    files: Sequence[Path],
    settings: Settings,
    *,
    source_name: str,
    timeout: float = 120.0,
    console: Console | None = None,
) -> Uploaded:
    """Ingest files, and analyse their stories.

    Args:
        files: documents, and lists of items.
        settings: name the database.
        source_name: the name of the items' source, which is created if it does not exist.
        timeout: maximum seconds to wait for the jobs.
        console: shows the progress; None to show nothing.

    Raises:
        UsageError: a file can't be read; nothing was uploaded.
    """
    async with open_job_runner(settings) as runner:
        read = await asyncio.gather(*(_read(runner, path) for path in files))
        items = [item for each in read for item in each]
        parts = chunks(items, [path.name for path, each in zip(files, read, strict=True) for _ in each])
        source = await _source(runner, source_name)
        ids = {item_id(source.id, NewItem(external_id=item.external_id).external_id) for item in items}

        async def found(_: Sequence[Job] = ()) -> list[Finding]:
            known = await findings(runner.queue, runner.context.repository, [source.id])
            return [finding for finding in known if finding.item.id in ids]

        roots = [*await _send(runner, source, parts), *await _left_over(runner, ids)]
        jobs = await runner.run(roots, timeout=timeout, console=console, items=found)
        came = await found()
        async with runner.rows() as rows:
            stories = await views(rows, (finding.story for finding in came if finding.story))
        return Uploaded(source, came, stories, jobs, await runner.spending(jobs))


async def _read(runner: JobRunner, path: Path) -> list[UploadedItem]:
    body = await asyncio.to_thread(_body, path)
    try:
        return await runner.context.compute(read_file, path.name, body, runner.queue.clock.now())
    except (Unreadable, ParserKilled) as error:
        raise UsageError(f"{path.name}: {error}. Nothing was uploaded.") from error


def _body(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}. Nothing was uploaded.") from error
    if len(body) > FILE_BYTES:
        raise UsageError(f"{path.name} has more than {FILE_BYTES:,} bytes. Nothing was uploaded.")
    return body


async def _source(runner: JobRunner, name: str) -> Source:
    """Return the source of manual items with this name; create it if needed."""
    new = NewSource(SourceType.MANUAL, name, None)
    async with runner.rows() as rows:
        for source in await rows.every_source():
            if (source.type, source.name, source.url) == (new.type, new.name, None):
                return source
        # The id follows from the name, so two concurrent commands create the same source.
        return await rows.ensure_source(uuid5(IDS, f"source/upload/{new.name}"), new)


async def _send(runner: JobRunner, source: Source, parts: Sequence[Sequence[UploadedItem]]) -> list[UUID]:
    async with runner.queue.transaction() as transaction:
        runs = await transaction.send_many(
            Send("ingest-from-upload", IngestFromUpload(source_id=source.id, items=list(part)))
            for part in parts
        )
    return [run.id for run in runs]


async def _left_over(runner: JobRunner, item_ids: set[UUID]) -> list[UUID]:
    """Send jobs for stories of earlier uploads that are not analysed yet."""
    async with runner.rows() as rows:
        known = {story.id for story in (await rows.stories_of(item_ids)).values()}
    sent = [await runner.send_missing_job(story_id) for story_id in sorted(known)]
    return [job_id for job_id in sent if job_id is not None]
