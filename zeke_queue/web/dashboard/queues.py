"""Queues: what each holds, how far it is behind, and letting it rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.callers import Scope
from zeke_queue.web.dashboard.page import View
from zeke_queue.web.rest import queues as rest

if TYPE_CHECKING:
    from starlette.responses import Response

    from zeke_queue.web.dashboard.desk import Desk


async def queues(desk: Desk) -> Response:
    """Show all queues."""
    catalog = desk.parts.queue.catalog
    return desk.page(
        "queues.html",
        queues=await rest.all_queues(desk.parts),
        described={name: task.description for name, task in catalog.served.items()},
    )


async def pause(desk: Desk) -> Response:
    """Pause a queue, or resume it."""
    name, paused = desk.field("name"), desk.field("do") == "pause"
    await rest.set_paused(desk.parts, name, paused=paused)
    told = "is paused: its jobs wait, those that run go on" if paused else "goes on"
    return desk.go(desk.url("queues"), f"{name} {told}")


VIEWS: Final = (View("/queues", queues), View("/queues", pause, changes=True, scope=Scope.ADMIN))
