"""procrastinate: its worker, and each minute the recovery of stalled jobs that its documentation shows."""

# It runs where its system is installed, which is not part of this project.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
from typing import Any

from common import CONCURRENCY, Log, arguments
from procrastinate import App, PsycopgConnector

given = arguments()
app = App(connector=PsycopgConnector(conninfo=given.dsn, max_size=CONCURRENCY))
log = Log(given.log)


@app.task(name="plain", pass_context=True)
async def plain(context: Any, n: int) -> None:
    attempt = context.job.attempts + 1
    await log.write("B", n, attempt)
    await log.write("R", n, attempt)


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="retry_stalled", pass_context=True)
async def retry_stalled(context: Any, timestamp: int) -> None:
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def main() -> None:
    async with app.open_async():
        if given.command == "setup":
            await app.schema_manager.apply_schema_async()
        elif given.command == "work":
            await app.run_worker_async(concurrency=CONCURRENCY)
        else:
            jobs = [{"n": n} for n in range(given.first, given.first + given.count)]
            await plain.batch_defer_async(*jobs)


asyncio.run(main())
