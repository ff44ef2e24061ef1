"""The catalog of the command line's tests, named on it as ``tests.cli.shop:catalog``."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from zeke_queue import Catalog, Fail, JobContext

catalog = Catalog(payload_cap=500)


class Letter(BaseModel):
    to: str
    copies: int = 1


class Receipt(BaseModel):
    sent: int


@catalog.task("mail", aliases=["post"], concurrency_limit=2)
async def mail(letter: Letter, job: JobContext) -> Receipt:
    job.logger.info("sending", to=letter.to)
    await job.progress(0.5, "half of it")
    return Receipt(sent=letter.copies)


@catalog.task("refuse")
async def refuse() -> None:
    raise Fail("no longer wanted")


@catalog.task("odd")
async def odd() -> object:
    return object()


@catalog.task("sleep")
async def sleep() -> None:
    await asyncio.Event().wait()
