"""Zeke's catalog, and a few tasks whose course the clients decide, so that no test depends on speed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
from zeke_tasks.catalog import build_catalog

SERVED = ("my-task", "echo", "gated", "open-gate", "broken", "ingest-oneoff", "playbook-run")
"""What the worker runs: of Zeke's tasks those that fetch nothing."""


class Options(BaseModel):
    force: bool | None = None


class MyTask(BaseModel):
    """The payload of the task in the earlier system's documents."""

    model_config = ConfigDict(alias_generator=to_camel)

    item_id: UUID
    options: Options | None = None


class Gate(BaseModel):
    gate: str


def interop_catalog() -> Catalog:
    """Return the catalog; its gates are of this process."""
    catalog = build_catalog(scheduled=False)
    gates: defaultdict[str, list[asyncio.Event]] = defaultdict(lambda: [asyncio.Event(), asyncio.Event()])

    @catalog.task("my-task", concurrency_limit=5)
    async def my_task(payload: MyTask) -> dict[str, Any]:
        return {"success": True, "itemId": str(payload.item_id)}

    @catalog.task("echo")
    async def echo(payload: Any) -> Any:
        return payload

    @catalog.task("gated")
    async def gated(payload: Gate, job: JobContext) -> dict[str, str]:
        first, second = gates[payload.gate]
        await first.wait()
        job.logger.info("half way", gate=payload.gate)
        await job.progress(0.5, "half")
        await second.wait()
        job.logger.info("nearly there")
        await job.progress(1.0)
        return {"gate": payload.gate}

    @catalog.task("open-gate")
    async def open_gate(payload: Gate) -> None:
        first, second = gates[payload.gate]
        (second if first.is_set() else first).set()

    @catalog.task("broken", retry_limit=0)
    async def broken() -> None:
        raise Fail("it is broken")

    return catalog
