"""The catalog of the workers: scripted tasks, of which the payload says what they do and for how long."""

from __future__ import annotations

import json
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from tests.torture.recording import Journal
from zeke_queue.model import CatchUp
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry, Snooze

if TYPE_CHECKING:
    from zeke_queue.core.options import OptionLayer

LIMIT = 2
"""How many of the limited jobs run at once."""

EXPIRE_IN = 1.0
"""Seconds that an attempt of the expiring task may take."""


class Script(BaseModel):
    """The script of an attempt: ``work`` for a number of seconds, and fail in the first ``fails`` attempts.

    ``send`` is of the one send that a client made it for.
    A handler in a process of its own finds in ``folder`` what its worker is, and so where to write.
    """

    n: int = 0
    work: float = 0.0
    fails: int = 0
    folder: str = ""
    send: int = 0


class Stumbled(Exception):
    """The script has this attempt fail."""


def make_catalog(journal: Journal) -> Catalog:
    catalog = Catalog()
    soon: dict[str, Any] = {"retry_limit": 3, "retry_delay": 1, "retry_delay_max": 2}
    _plain_tasks(catalog, journal, soon)
    _odd_tasks(catalog, journal, soon)
    catalog.task("ticking", retry_limit=2, retry_delay=1)(_noted(journal, _at_once))
    for name, cron, catch_up in (
        ("every-2", "* * * * * */2", "all"),
        ("every-3", "* * * * * */3", "once"),
        ("every-5", "* * * * * */5", "skip"),
    ):
        catalog.schedule(
            name, cron, task="ticking", payload={"n": 1}, timezone="UTC", catch_up=CatchUp(catch_up)
        )
    return catalog


def options() -> dict[str, list[OptionLayer]]:
    """Return the rules of the tasks for their jobs, by queue."""
    with closing(Journal(Path(os.devnull), "", 0.0, 0)) as journal:
        return {task.name: [task.layer] for task in make_catalog(journal).tasks.values()}


def _plain_tasks(catalog: Catalog, journal: Journal, soon: dict[str, Any]) -> None:
    async def slow(script: Script, job: JobContext) -> Any:
        job.progress(0.5)
        await journal.clock.sleep(script.work)
        return {"slept": script.work}

    async def failing(script: Script, job: JobContext) -> Any:
        await journal.clock.sleep(script.work)
        if job.attempt <= script.fails:
            raise Stumbled(f"attempt {job.attempt} of 'n={script.n}' [as scripted]")
        return [script.n, job.attempt]

    catalog.task("quick", **soon)(_noted(journal, _at_once))
    # Retried at once, so that a late call of a partitioned worker may meet the next attempt.
    catalog.task("slow", retry_limit=3, retry_delay=0)(_noted(journal, slow))
    catalog.task("failing", **soon)(_noted(journal, failing))
    catalog.task("expiring", expire_in=EXPIRE_IN, retry_limit=1, retry_delay=1)(_noted(journal, slow))
    catalog.task("limited", concurrency_limit=LIMIT, **soon)(_noted(journal, slow))
    catalog.task("unique", **soon)(_noted(journal, slow))

    def sync(script: Script, job: JobContext) -> Any:
        with journal.attempt(job) as returned:
            threading.Event().wait(script.work)
            returned.append("done")
        return "done"

    catalog.task("sync", **soon)(sync)
    catalog.task("crunch", process=True, **soon)(crunch)


def crunch(script: Script, job: JobContext) -> Any:
    """Work in a process of its own, which writes into its worker's journal."""
    part = json.loads(about_worker(Path(script.folder), os.getppid()).read_text(encoding="utf-8"))
    journal = Journal(Path(part["journal"]), part["node"], part["epoch"], part["place"], part["life"])
    with closing(journal), journal.attempt(job) as returned:
        threading.Event().wait(script.work)
        returned.append({"crunched": script.n})
    return {"crunched": script.n}


def about_worker(folder: Path, pid: int) -> Path:
    return folder / f"process-{pid}"


def _odd_tasks(catalog: Catalog, journal: Journal, soon: dict[str, Any]) -> None:
    async def parent(script: Script, job: JobContext) -> Any:
        async with job.transaction() as transaction:
            await transaction.send("quick", {"n": script.n})
            await transaction.send("slow", {"n": script.n, "work": script.work})
            if script.fails % 2:
                raise Stumbled("after its sends, which must not be seen")
        await job.send("quick", {"n": -script.n})
        return None

    async def calling(script: Script, job: JobContext) -> Any:
        child = {"n": script.n, "work": script.work, "fails": script.fails}
        runs = [await job.start_child(task, child, key=task) for task in ("quick", "failing")]
        if job.attempt <= script.fails % 3:
            raise Stumbled("after its children were sent, which stay")
        seen = [str((await job.wait_for(run)).row_state) for run in runs]
        limited = await job.start_child("limited", {"n": script.n})
        return [*seen, str((await job.wait_for(limited)).row_state)]

    async def snoozing(script: Script, job: JobContext) -> Any:
        if job.attempt <= script.fails:
            raise Snooze(0.4)
        return job.attempt

    async def signalling(script: Script, job: JobContext) -> Any:
        if job.attempt <= script.fails:
            raise Retry(0.2, "as scripted")
        raise Fail("for good, as scripted")

    async def extending(script: Script, job: JobContext) -> Any:
        await job.extend(EXPIRE_IN + script.work)
        await journal.clock.sleep(script.work)
        return script.n

    catalog.task("parent", **soon)(_noted(journal, parent))
    catalog.task("calling", concurrency_limit=LIMIT, **soon)(_noted(journal, calling))
    catalog.task("snoozing", **soon)(_noted(journal, snoozing))
    catalog.task("signalling", **soon)(_noted(journal, signalling))
    catalog.task("extending", expire_in=EXPIRE_IN, retry_limit=2, retry_delay=1)(_noted(journal, extending))


async def _at_once(script: Script, job: JobContext) -> Any:
    return {"n": script.n, "attempt": job.attempt}


def _noted(journal: Journal, work: Any) -> Any:
    async def handler(script: Script, job: JobContext) -> Any:
        with journal.attempt(job) as returned:
            returned.append(await work(script, job))
        return returned[0]

    return handler
