"""The tasks of a printer, controlled by the tests: steps that wait for a permission, a press that jams."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, Field

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext

UNSERVED: Final = "parcel"
"""A task that no worker of the tests runs: what becomes of its jobs, the test does by hand."""


class Letter(BaseModel):
    to: str = Field(description="Whom it is for")
    copies: int = Field(default=1, ge=1, description="How many, 1 or more")


class Book(BaseModel):
    steps: list[str] = ["set", "print", "bind"]


class Words(BaseModel):
    text: str
    fail: bool = False


@dataclass
class Press:
    """What the tests hold of the tasks while they run.

    Attributes:
        gate: each step of a book takes one of it.
        jammed: whether ``page`` fails.
    """

    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    jammed: bool = True


def press_catalog(press: Press) -> Catalog:
    catalog = Catalog()

    @catalog.task("letter", concurrency_limit=5)
    async def letter(payload: Letter, job: JobContext) -> dict[str, Any]:
        """Print a letter."""
        job.logger.info("printing", to=payload.to)
        return {"printed": payload.copies}

    @catalog.task("book")
    async def book(payload: Book, job: JobContext) -> dict[str, Any]:
        """Make a book, step by step."""
        for number, step in enumerate(payload.steps, 1):
            await press.gate.acquire()
            job.logger.info(step, number=number)
            job.progress(number / len(payload.steps), step)
        return {"steps": len(payload.steps)}

    @catalog.task("page", retry_limit=0)
    async def page() -> dict[str, bool]:
        """Print a page, unless the press is jammed."""
        if press.jammed:
            raise RuntimeError("the press is jammed")
        return {"printed": True}

    @catalog.task("words", retry_limit=0)
    async def words(payload: Words, job: JobContext) -> dict[str, str]:
        """Say it everywhere."""
        job.logger.info(payload.text, more=payload.text)
        job.progress(0.5, payload.text)
        if payload.fail:
            raise RuntimeError(payload.text)
        return {payload.text[:50]: payload.text}

    @catalog.task("letterhead", retry_limit=0, redact=["payload.text"])
    async def letterhead(payload: Words) -> None:
        """Print what must stay hidden."""

    @catalog.task(UNSERVED)
    async def parcel() -> None:
        """Post it; no worker of the tests does."""

    return catalog
