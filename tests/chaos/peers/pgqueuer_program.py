"""PgQueuer: its worker with default options; a job of a silent worker is taken after 30 seconds."""

# It runs where its system is installed, which is not part of this project.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio

import psycopg
from common import CONCURRENCY, Log, arguments
from pgqueuer import Job, PgQueuer, PsycopgDriver, Queries

given = arguments()
log = Log(given.log)


async def main() -> None:
    connection = await psycopg.AsyncConnection.connect(given.dsn, autocommit=True)
    driver = PsycopgDriver(connection)
    if given.command == "setup":
        await Queries(driver).install()
        return
    if given.command == "send":
        numbers = range(given.first, given.first + given.count)
        payloads: list[bytes | None] = [str(n).encode() for n in numbers]
        await Queries(driver).enqueue(["plain"] * given.count, payloads, [0] * given.count)
        return
    worker = PgQueuer(driver)

    @worker.entrypoint("plain")
    async def plain(job: Job) -> None:
        await log.write("B", int(job.payload or b"0"), 1)
        await log.write("R", int(job.payload or b"0"), 1)

    await worker.run(batch_size=CONCURRENCY // 2, max_concurrent_tasks=CONCURRENCY)


asyncio.run(main())
