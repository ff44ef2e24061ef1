"""Keys of a team: they send, change and schedule only jobs of their own team, at every entry point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.routing import Route

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.web.conftest import Web, on_both_storages
from zeke_queue.client.queue import Queue
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import RowState
from zeke_queue.storage import Storage
from zeke_queue.storage.access import Scope
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.rest import ROUTERS
from zeke_queue.web.triggers import CHECKED_AT_ONCE, TEAM
from zeke_queue.web.trpc.procedures import PROCEDURES
from zeke_queue.web.trpc.router import router as trpc

OURS: Final = UUID("0190163d-8694-739b-aea5-966c26f8ad91")
THEIRS: Final = UUID("0190163d-8694-739b-aea5-966c26f8ad92")
PLAYBOOK: Final = "0190163d-8694-739b-aea5-966c26f8ad93"


class Play(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    team_id: UUID | None = None
    playbook_id: UUID | None = None


def catalog() -> Catalog:
    made = Catalog()

    @made.task("playbook-run", aliases=["play"], retry_limit=0, team_field="teamId")
    async def play(payload: Play) -> None:
        del payload

    @made.task("ingest-oneoff")
    async def ingest(payload: dict[str, Any]) -> None:
        del payload

    return made


@pytest.fixture
async def queue(storage: Storage, clock: FrozenClock) -> AsyncIterator[Queue]:
    queue = Queue(catalog(), storage, clock=clock, entropy=SeededEntropy(0), settings=Settings.load())
    yield queue
    await queue.close()


class Entry:
    """Calls one entry point for jobs of a team; the call returns a status."""

    def __init__(self, jobs: Driver, queue: Queue, client: httpx2.AsyncClient) -> None:
        self.jobs = jobs
        self.queue = queue
        self.client = client

    async def rest(self, method: str, path: str, body: Any = None) -> int:
        return (await self.client.request(method, path, json=body)).status_code

    async def form(self, path: str, **form: Any) -> int:
        answer = await self.client.post(f"/dashboard{path}", data=form)
        refused = answer.status_code == 422 and "must be the team of" in answer.text
        return 403 if refused else 200 if answer.status_code == 303 else answer.status_code

    async def trpc(self, name: str, value: Any) -> int:
        return (await self.client.post(f"/trpc/{name}", json={"json": value})).status_code

    async def job(self, team: UUID, action: str) -> str:
        """Store a job that an action fits."""
        how: dict[str, Any] = {"name": "play", "data": f'{{"teamId": "{team}"}}'}
        if action == "cancel":
            return str(await self.jobs.send(**how))
        state = RowState.FAILED if action == "retry" else RowState.CANCELLED
        return str(await self.jobs.ended(state, **how))

    async def on_job(self, team: UUID, action: str) -> int:
        return await self.rest("POST", f"/trigger/runs/{await self.job(team, action)}/{action}")

    async def on_page(self, team: UUID, action: str) -> int:
        return await self.form(f"/jobs/{await self.job(team, action)}/{action}")

    async def in_bulk(self, team: UUID, action: str) -> int:
        ids = [await self.job(OURS, action), await self.job(team, action)]
        return await self.form("/jobs/change", operation=action, ids=" ".join(ids))

    async def schedule(self, team: UUID) -> str:
        await self.queue.schedules.put("nightly", "0 0 * * *", task="playbook-run", payload=payload(team))
        return "nightly"

    async def on_schedule(self, team: UUID, method: str, action: str = "", body: Any = None) -> int:
        status = await self.rest(method, f"/schedules/{await self.schedule(team)}{action}", body)
        return 200 if status == 204 else status

    async def in_schedules(self, team: UUID, action: str) -> int:
        return await self.form("/schedules", name=await self.schedule(team), do=action)


def payload(team: UUID) -> dict[str, str]:
    return {"teamId": str(team)}


EDIT: Final[dict[str, Any]] = {"cron": "0 1 * * *", "task": "playbook-run"}
FORM: Final = {"name": "nightly", "task": "playbook-run", "cron": "0 1 * * *", "zone": "UTC"}

Call = Callable[[Entry, UUID], Awaitable[int]]

ENTRIES: Final[dict[str, list[Call]]] = {
    "POST /trigger": [
        lambda e, team: e.rest("POST", "/trigger", {"taskId": "playbook-run", "payload": payload(team)}),
        lambda e, team: (
            e.rest("POST", "/trigger", {"taskId": "play", "payload": {"team_id": str(team)}})
            if team == OURS
            else e.rest("POST", "/trigger", {"taskId": "play", "payload": {"teamId": str(team).upper()}})
        ),
    ],
    "tRPC trigger.trigger": [
        lambda e, team: e.trpc("trigger.trigger", {"taskId": "play", "payload": payload(team)}),
    ],
    "POST /dashboard/trigger": [
        lambda e, team: e.form("/trigger", task="play", payload=f'{{"teamId": "{team}"}}'),
    ],
    "POST /trigger/runs/{run_id}/cancel": [lambda e, team: e.on_job(team, "cancel")],
    "POST /trigger/runs/{run_id}/retry": [lambda e, team: e.on_job(team, "retry")],
    "POST /trigger/runs/{run_id}/resume": [lambda e, team: e.on_job(team, "resume")],
    "POST /dashboard/jobs/{job_id}/cancel": [lambda e, team: e.on_page(team, "cancel")],
    "POST /dashboard/jobs/{job_id}/retry": [lambda e, team: e.on_page(team, "retry")],
    "POST /dashboard/jobs/{job_id}/resume": [lambda e, team: e.on_page(team, "resume")],
    "POST /dashboard/jobs/change": [
        lambda e, team: e.in_bulk(team, "cancel"),
        lambda e, team: e.in_bulk(team, "retry"),
        lambda e, team: e.in_bulk(team, "resume"),
    ],
    "PUT /schedules/{name:schedule}": [
        lambda e, team: e.on_schedule(team, "PUT", body={**EDIT, "payload": payload(OURS)}),
        lambda e, team: e.rest("PUT", "/schedules/new", {**EDIT, "payload": payload(team)}),
    ],
    "DELETE /schedules/{name:schedule}": [lambda e, team: e.on_schedule(team, "DELETE")],
    "POST /schedules/{name:path}/run": [lambda e, team: e.on_schedule(team, "POST", "/run")],
    "POST /schedules/{name:path}/pause": [lambda e, team: e.on_schedule(team, "POST", "/pause")],
    "POST /schedules/{name:path}/resume": [lambda e, team: e.on_schedule(team, "POST", "/resume")],
    "POST /dashboard/schedules": [
        lambda e, team: e.in_schedules(team, "run"),
        lambda e, team: e.in_schedules(team, "pause"),
        lambda e, team: e.in_schedules(team, "delete"),
    ],
    "POST /dashboard/schedules/edit": [
        lambda e, team: e.form("/schedules/edit", **FORM, payload=f'{{"teamId": "{team}"}}'),
    ],
}
"""All entry points at which a job or a schedule can be of a team, with calls to each."""

OF_NO_TEAM: Final = {
    "tRPC trigger.ingestUrl": "its task has no team",
    "tRPC trigger.runPlaybook": "takes no team from its caller",
    "POST /queues/{name:path}/pause": "a queue is of no team",
    "POST /queues/{name:path}/resume": "a queue is of no team",
    "POST /dashboard/queues": "a queue is of no team",
    "POST /dashboard/jobs/confirm": "changes nothing",
    "POST /dashboard/sign-in": "makes a session",
    "POST /dashboard/sign-out": "ends a session",
    "POST /trpc/{path:path}": "its procedures are listed",
}


@asynccontextmanager
async def entering(team: UUID | None = OURS) -> AsyncIterator[Entry]:
    """Open an application of its own, for a caller with an admin key of a team."""
    clock = FrozenClock()
    storage = MemoryStorage(clock)
    queue = Queue(catalog(), storage, clock=clock, entropy=SeededEntropy(0), settings=Settings.load())
    web = Web(create_app(queue, WebSettings.load()), queue)
    key = await web.key(Scope.ADMIN, name="ours", team=team)
    async with web.client(key) as client:
        yield Entry(Driver(storage, clock), queue, client)
    await queue.close()


async def test_no_place_among_many_jobs_hides_one_of_another_team() -> None:
    async with entering() as entry:
        ours = [await entry.job(OURS, "cancel") for _ in range(2 * CHECKED_AT_ONCE)]
        theirs = await entry.job(THEIRS, "cancel")
        for place in range(len(ours) + 1):
            ids = [*ours[:place], theirs, *ours[place:]]
            assert await entry.form("/jobs/change", operation="cancel", ids=" ".join(ids)) == 403, place
        assert await entry.form("/jobs/change", operation="cancel", ids=" ".join(ours)) == 200


async def test_key_of_a_team_acts_for_that_team_alone_at_every_entry_point() -> None:
    async def check(call: Call) -> None:
        for team, status in ((OURS, 200), (THEIRS, 403)):
            async with entering() as entry:
                assert await call(entry, team) == status, team
        async with entering(team=None) as entry:
            assert await call(entry, THEIRS) == 200

    await check_each_async({f"{n} {i}": (c,) for n, cs in ENTRIES.items() for i, c in enumerate(cs)}, check)


def test_every_entry_point_is_listed(app: FastAPI) -> None:
    found = {f"tRPC {name}" for name, procedure in PROCEDURES.items() if procedure.kind == "mutation"}
    rest = [route for router in (*ROUTERS, trpc) for route in router.routes]
    for prefix, routes in (("", rest), ("/dashboard", app.state.dashboard.app.routes)):
        for route in routes:
            assert isinstance(route, Route)
            found |= {f"{m} {prefix}{route.path}" for m in route.methods or () if m not in {"GET", "HEAD"}}
    assert found == {*ENTRIES, *OF_NO_TEAM}


@on_both_storages
async def test_refused_change_changes_nothing(call: Web, jobs: Driver) -> None:
    key = await call.key(Scope.ADMIN, name="ours", team=OURS)
    theirs = await jobs.ended(RowState.FAILED, name="playbook-run", data=f'{{"teamId": "{THEIRS}"}}')
    ended = await jobs.ended(RowState.FAILED, name="playbook-run")
    for job in (theirs, ended):
        refused = await call("POST", f"/trigger/runs/{job}/retry", key)
        assert refused.status_code == 403
        assert f"teamId: must be the team of ours, {OURS}" in refused.json()["description"]
    body = {"taskId": "play", "payload": payload(THEIRS)}
    assert (await call("POST", "/trigger", key, json=body)).status_code == 403
    assert await jobs.states([theirs, ended]) == [RowState.FAILED] * 2


@on_both_storages
async def test_team_of_the_key_is_filled_in(call: Web, queue: Queue) -> None:
    key = await call.key(Scope.ADMIN, team=OURS)
    for given in (None, {}, {"teamId": None}, {"team_id": None}):
        sent = await call("POST", "/trigger", key, json={"taskId": "play", "payload": given})
        job = await queue.get(UUID(sent.json()["id"]))
        assert job is not None
        assert job.data["teamId"] == str(OURS)
    plain = await call("POST", "/trigger", key, json={"taskId": "ingest-oneoff", "payload": {"a": 1}})
    job = await queue.get(UUID(plain.json()["id"]))
    assert job is not None
    assert (job.data, job.meta) == ({"a": 1}, {TEAM: str(OURS)})


def test_team_field_is_a_field_of_the_stored_payload() -> None:
    def check(field: str, of: type[Any]) -> None:
        async def handler(payload: Any) -> None:
            del payload

        handler.__annotations__["payload"] = of
        define = Catalog().task("t", team_field=field)
        with pytest.raises(InvalidOptionError, match="team_field: must be a field of the payload"):
            define(handler)

    check_each([("team_id", Play), ("team", Play), ("teamId", dict)], check)
