"""Takes the pictures of the documentation: ``python -m tests.browser.pictures [FOLDER]``.

Those of the dashboard show a shop at noon, whose hour before was played on a clock that a program turns; that
of the simulator shows the shrunk failure of a planted bug. They are the same at each run, except for the
rendering of fonts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import DEVNULL
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

from playwright.async_api import async_playwright
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from tests.browser.chromium import FLAGS, find
from tests.browser.devices import PHONE
from tests.browser.newsroom import newsroom
from tests.clocks import FrozenClock
from tests.conformance.driver import ANNA, BERT, Driver
from tests.mutants.__main__ import copied, load
from tests.tidy import ROOT
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobEvent, WorkerInfo
from zeke_queue.storage.access import Scope
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import Caller, WebSettings
from zeke_queue.web.server import ApiServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from playwright.async_api import Browser, BrowserContext

    from zeke_queue.model import Claimed
    from zeke_queue.web.dashboard import Page

IMAGES: Final = ROOT / "docs" / "images"
_Look = tuple[Literal["light", "dark"], int]
"""The scheme, and how high a window is that is 1280 wide."""

_FAILURE: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from zeke_sim.cli import sim
sim(["run", "tests.scenarios.cancel", "--from", "225", "--seeds", "1", "--folder", "."])
"""
"""A program that finds and shrinks the failure of a worker that continues after its lease has ended.

The run of this seed shrinks to one partition. README.md says what the picture shows.
"""

_HOLDER: Final = ANNA
_HOUR: Final = 3600.0
_DECLINED: Final = {
    "type": "CardDeclined",
    "message": "the bank declined the card: insufficient funds",
    "traceback": 'Traceback (most recent call last):\n  File "shop/payments.py", line 41, in charge_card\n'
    "    charge = await gateway.charge(order.card, order.total)\n"
    '  File "shop/gateway.py", line 87, in charge\n    raise CardDeclined(answer["reason"])\n'
    "shop.gateway.CardDeclined: the bank declined the card: insufficient funds",
}
_LATE: Final = {"type": "TimeoutError", "message": "no answer within 30 s", "traceback": None}


class Order(BaseModel):
    order: int


class Mail(BaseModel):
    to: str
    order: int


def shop() -> Catalog:
    catalog = Catalog()

    async def never(payload: Order) -> None:
        """Nothing is run: what becomes of jobs, the scene decides."""

    async def never_mailed(payload: Mail) -> None:
        """Nothing is run here either."""

    told = {
        "charge-card": "Charge the card of an order",
        "pack-parcel": "Pack an order for pickup",
        "resize-photo": "Resize the photos of a product",
        "nightly-report": "Sum up the sales of a day",
    }
    for name, description in told.items():
        catalog.task(name, description=description)(never)
    catalog.task("send-mail", description="Send a mail to a customer", concurrency_limit=20)(never_mailed)
    return catalog


class Scene:
    """The hour before noon."""

    failed: UUID
    running: UUID

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.clock.advance(-_HOUR)
        self.storage = MemoryStorage(self.clock)
        entropy = SeededEntropy(0)
        self.queue = Queue(shop(), self.storage, clock=self.clock, entropy=entropy, settings=Settings.load())
        self.jobs = Driver(self.storage, self.clock)
        self.random = entropy.stream("scene")
        self.order = 4_100

    async def play(self) -> None:
        await parts_of(self.queue).declare()
        await self._beat()
        told: dict[str, Any] = {"payload": {"order": 0}}
        await self.queue.schedules.put(
            "nightly-report", "0 2 * * *", timezone="Europe/Berlin", description="Daily sales", **told
        )
        await self.queue.schedules.put(
            "stock", "*/15 8-18 * * mon-fri", task="pack-parcel", description="Parcels", **told
        )
        await self.queue.schedules.put("photos", "0 * * * *", task="resize-photo", paused=True, **told)
        for minute in range(60):
            begun = self.clock.now()
            rush = 3 + minute // 12 + (6 if 30 <= minute < 40 else 0)
            for _ in range(self.random.randint(rush // 2, rush)):
                await self._one(minute)
            self.clock.advance(60 - (self.clock.now() - begun).total_seconds())
        await self._declined()
        await self._at_noon()

    async def _one(self, minute: int) -> None:
        name = self.random.choice(["charge-card", "send-mail", "send-mail", "pack-parcel", "resize-photo"])
        job_id = await self._send(name)
        self.clock.advance(self.random.uniform(0.02, 0.4 if minute < 30 else 1.2))
        claimed = await self._claim(name)
        self.clock.advance(self.random.uniform(0.1, 1.6))
        if self.random.random() < 0.04:
            await self.jobs.fail(claimed, output=json.dumps(_LATE))
        else:
            await self.jobs.complete(claimed, json.dumps({"done": True}))
        assert claimed.id == job_id

    async def _send(self, name: str, **options: Any) -> UUID:
        self.order += 1
        payload: dict[str, Any] = {"order": self.order}
        if name == "send-mail":
            payload["to"] = self.random.choice(["ada", "bert", "carla", "dora"]) + "@example.org"
        return await self.jobs.send(name, data=json.dumps(payload), **options)

    async def _claim(self, name: str) -> Claimed:
        return await self.jobs.claim_one(name, _HOLDER)

    async def _declined(self) -> None:
        self.failed = await self._send("charge-card", retry_limit=2)
        for attempt, (wait, ran) in enumerate([(0.3, 1.2), (20.0, 2.1), (60.0, 1.7)]):
            self.clock.advance(wait)
            claimed = await self._claim("charge-card")
            line = json.dumps({"level": "info", "message": "asking the bank", "attempt": attempt + 1})
            await self.storage.append_events([JobEvent(claimed.id, claimed.attempt, "log", line)])
            self.clock.advance(ran)
            retry_in = (20.0, 60.0, None)[attempt]
            await self.jobs.fail(claimed, retry_in, json.dumps(_DECLINED))

    async def _at_noon(self) -> None:
        """Keep some jobs waiting, some running, and one in progress."""
        for name in ["send-mail"] * 9 + ["resize-photo"] * 5 + ["pack-parcel"] * 2:
            await self._send(name)
        self.clock.advance(14)
        self.running = (await self._claim("resize-photo")).id
        await self._claim("pack-parcel")
        lines = [("opened", 0.1), ("cropped", 0.35), ("scaled to 1200 px", 0.6)]
        for text, done in lines:
            self.clock.advance(2)
            said = json.dumps({"level": "info", "message": text})
            where = json.dumps({"value": done, "message": text})
            await self.storage.append_events(
                [JobEvent(self.running, 1, "log", said), JobEvent(self.running, 1, "progress", where)]
            )
        cancelled = await self._send("nightly-report", delay=_HOUR)
        await self.storage.cancel([cancelled])
        await self._beat()

    async def _beat(self) -> None:
        """Run two workers: one runs all jobs, one is idle."""
        for identity, host, served in (
            (_HOLDER, "shop-1", tuple(self.queue.catalog.tasks)),
            (BERT, "shop-2", ("nightly-report",)),
        ):
            duties = ("maintenance", "schedules")
            await self.storage.heartbeat(WorkerInfo(identity, host, 4711, served, 15.0, duties=duties))


async def take(folder: Path) -> list[Path]:
    scene = Scene()
    await scene.play()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        async with _served(scene.queue) as base:
            made = await _all(browser, base, scene, folder)
        queue, page = await newsroom(scene.clock)
        async with _served(queue, page) as base:
            picture = folder / "dashboard-newsroom.png"
            made.append(await _on_a_desk(browser, base, picture, "zeke/", ("light", 600)))
        made.append(await _failure(browser, folder / "simulation-failure.png"))
    await queue.close()
    return made


async def _failure(browser: Browser, made: Path) -> Path:
    (bug,) = (bug for bug in load() if bug.name == "lease-unwatched")
    with copied(bug) as copy, TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _FAILURE]
        failed = await asyncio.create_subprocess_exec(*command, str(copy), cwd=folder, stdout=DEVNULL)
        assert await failed.wait() == 1
        (report,) = Path(folder).glob("*.html")
        page = await browser.new_page(viewport={"width": 1200, "height": 760}, device_scale_factor=1.5)
        await page.goto(report.as_uri())
        made.write_bytes(await page.screenshot(animations="disabled"))
    return made


async def _anyone(connection: HTTPConnection) -> Caller:
    del connection
    return Caller("ada", "Ada", frozenset(Scope))


@asynccontextmanager
async def _served(queue: Queue, *pages: Page) -> AsyncGenerator[str]:
    server = ApiServer(queue, WebSettings.load(api_port=0), authenticator=_anyone, pages=pages)
    running = asyncio.create_task(server.run())
    try:
        yield f"{server.url}/dashboard/"
    finally:
        server.stop()
        await running


async def _all(browser: Browser, base: str, scene: Scene, folder: Path) -> list[Path]:
    desks: dict[str, tuple[str, _Look]] = {
        "overview": ("", ("light", 820)),
        "jobs-dark": ("jobs", ("dark", 820)),
        "job": (f"jobs/{scene.failed}", ("light", 820)),
        "queues": ("queues", ("light", 450)),
        "schedules": ("schedules", ("light", 580)),
        "workers-dark": ("workers", ("dark", 430)),
    }
    made = [
        await _on_a_desk(browser, base, folder / f"dashboard-{name}.png", path, look)
        for name, (path, look) in desks.items()
    ]
    context = await browser.new_context(
        base_url=base, color_scheme="light", **{**PHONE, "viewport": {"width": 360, "height": 700}}
    )
    phones = [await _one(context, path) for path in ("", "jobs", f"jobs/{scene.running}")]
    await context.close()
    made.append(folder / "dashboard-phone.png")
    made[-1].write_bytes(await _side_by_side(browser, phones))
    return made


async def _on_a_desk(browser: Browser, base: str, made: Path, path: str, look: _Look) -> Path:
    scheme, height = look
    size: Any = {"width": 1280, "height": height}
    context = await browser.new_context(base_url=base, color_scheme=scheme, viewport=size)
    made.write_bytes(await _one(context, path))
    await context.close()
    return made


async def _one(context: BrowserContext, path: str) -> bytes:
    page = await context.new_page()
    await page.goto(path)
    shot = await page.screenshot(animations="disabled")
    await page.close()
    return shot


async def _side_by_side(browser: Browser, shots: list[bytes]) -> bytes:
    page = await browser.new_page(viewport={"width": 3 * 360 + 2 * 24, "height": 700})
    images = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(shot).decode()}" width=360 height=700>'
        for shot in shots
    )
    await page.set_content(f"<style>body{{margin:0;display:flex;gap:24px;background:#fff}}</style>{images}")
    return await page.screenshot()


if __name__ == "__main__":
    for picture in asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)):
        sys.stdout.write(f"{picture} {picture.stat().st_size} bytes\n")
