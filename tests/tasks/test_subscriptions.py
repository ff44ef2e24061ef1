"""Teams' subscriptions over REST and tRPC: whom they concern, who may change them, what they are for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.jobs import Jobs
from tests.web.conftest import Web, open_house
from zeke_queue.client.queue import Queue
from zeke_queue.errors import SchemaVersionError
from zeke_queue.storage.access import Scope
from zeke_queue.task.catalog import Catalog
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.extension import installed_extensions
from zeke_tasks.pages import subscriptions_extension
from zeke_tasks.store import subscriptions
from zeke_tasks.store.highlights import ReadingState
from zeke_tasks.store.model import Source

OURS, THEIRS = UUID(int=7), UUID(int=8)
NOBODY = UUID(int=99)


class Interface:
    """REST or tRPC: subscribes, unsubscribes and lists; each call returns a status and a body."""

    def __init__(self, web: Web, key: str) -> None:
        self._web = web
        self._key = key

    async def change(self, action: str, source_id: object, team: UUID | None = None) -> tuple[int, Any]:
        raise NotImplementedError

    async def listed(self, team: UUID | None = None) -> tuple[int, Any]:
        raise NotImplementedError


class Rest(Interface):
    async def change(self, action: str, source_id: object, team: UUID | None = None) -> tuple[int, Any]:
        method = "PUT" if action == "subscribe" else "DELETE"
        return await self._call(method, f"/subscriptions/{source_id}", team)

    async def listed(self, team: UUID | None = None) -> tuple[int, Any]:
        return await self._call("GET", "/subscriptions", team)

    async def _call(self, method: str, path: str, team: UUID | None) -> tuple[int, Any]:
        params = {} if team is None else {"teamId": str(team)}
        answer = await self._web(method, path, self._key, params=params)
        return answer.status_code, answer.json()


class Trpc(Interface):
    async def change(self, action: str, source_id: object, team: UUID | None = None) -> tuple[int, Any]:
        given = {"json": {"sourceId": str(source_id), **_of(team)}}
        answer = await self._web("POST", f"/trpc/sources.{action}", self._key, json=given)
        return answer.status_code, _unwrapped(answer.json())

    async def listed(self, team: UUID | None = None) -> tuple[int, Any]:
        given = {"input": json.dumps({"json": _of(team)})}
        answer = await self._web("GET", "/trpc/sources.subscribed", self._key, params=given)
        return answer.status_code, _unwrapped(answer.json())


def _of(team: UUID | None) -> dict[str, str]:
    return {} if team is None else {"teamId": str(team)}


def _unwrapped(body: Any) -> Any:
    return body["result"]["data"]["json"] if "result" in body else body["error"]["json"]


INTERFACES = [Rest, Trpc]


@asynccontextmanager
async def serving(domain: Domain, queue: Queue) -> AsyncIterator[Web]:
    extension = subscriptions_extension(domain.repository)
    app = create_app(queue, WebSettings.load(), authenticator=open_house(queue), extensions=[extension])
    yield Web(app, queue)
    await queue.close()


@asynccontextmanager
async def using(
    kind: type[Interface], team: UUID | None = OURS, scope: Scope = Scope.TRIGGER
) -> AsyncIterator[tuple[Interface, Domain, Source]]:
    """Open an application with one source, called with a key of a team."""
    domain = memory_domain()
    source = await domain.source()
    async with serving(domain, Jobs(domain).queue) as web:
        yield kind(web, await web.key(scope, name="ours", team=team)), domain, source


async def test_team_subscribes_lists_and_unsubscribes() -> None:
    async def check(kind: type[Interface]) -> None:
        async with using(kind) as (api, domain, source):
            told = {"teamId": str(OURS), "sourceId": str(source.id), "subscribed": True}
            assert await api.change("subscribe", source.id) == (200, {**told, "changed": True})
            assert await api.change("subscribe", source.id) == (200, {**told, "changed": False})
            shown = {"id": str(source.id), "type": "rss", "name": "A feed", "active": True}
            listed = {"teamId": str(OURS), "sources": [{**shown, "url": "https://a.example/feed"}]}
            assert await api.listed() == (200, listed)
            assert await domain.verbs.teams_of(source.id) == [OURS]
            told["subscribed"] = False
            assert await api.change("unsubscribe", source.id) == (200, {**told, "changed": True})
            assert await api.change("unsubscribe", source.id) == (200, {**told, "changed": False})
            assert await api.listed() == (200, {"teamId": str(OURS), "sources": []})

    await check_each_async(INTERFACES, check)


async def test_key_of_a_team_acts_for_its_team_only() -> None:
    async def check(kind: type[Interface]) -> None:
        async with using(kind) as (api, domain, source):
            await domain.verbs.connect(THEIRS, source.id)
            refusals = [
                await api.listed(THEIRS),
                await api.change("subscribe", source.id, THEIRS),
                await api.change("unsubscribe", source.id, THEIRS),
            ]
            for status, body in refusals:
                assert status == 403
                assert f"teamId: must be the team of ours, {OURS}, got {THEIRS}" in str(body)
            assert (await api.change("subscribe", source.id, OURS))[0] == 200
            assert await domain.verbs.teams_of(source.id) == [OURS, THEIRS]

    await check_each_async(INTERFACES, check)


async def test_key_without_a_team_must_name_one() -> None:
    async def check(kind: type[Interface]) -> None:
        async with using(kind, team=None) as (api, domain, source):
            for status, body in (await api.listed(), await api.change("subscribe", source.id)):
                assert status == 422
                assert "teamId: must be a team's id, got none" in str(body)
            assert (await api.change("subscribe", source.id, THEIRS))[0] == 200
            assert await domain.verbs.teams_of(source.id) == [THEIRS]

    await check_each_async(INTERFACES, check)


async def test_changes_count_as_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TRIGGER_LIMIT", "2")

    async def check(kind: type[Interface]) -> None:
        async with using(kind) as (api, domain, source):
            done = [
                await api.change(action, source.id) for action in ("subscribe", "unsubscribe", "subscribe")
            ]
            assert [status for status, _ in done] == [200, 200, 429]
            assert "Too many requests" in str(done[-1][1])
            assert (await api.listed())[0] == 200
            assert await domain.verbs.teams_of(source.id) == []

    await check_each_async(INTERFACES, check)


async def test_number_of_subscriptions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "SUBSCRIPTIONS_MAX", 1)

    async def check(kind: type[Interface]) -> None:
        async with using(kind) as (api, domain, source):
            other = await domain.source("https://b.example/feed")
            for _ in range(2):
                assert (await api.change("subscribe", source.id))[0] == 200
            status, body = await api.change("subscribe", other.id)
            assert (status, await domain.verbs.teams_of(other.id)) == (422, [])
            assert f"Team {OURS} subscribes to 1 sources, the limit" in str(body)

    await check_each_async(INTERFACES, check)


async def test_key_that_only_reads_changes_nothing() -> None:
    async def check(kind: type[Interface]) -> None:
        async with using(kind, scope=Scope.READ) as (api, domain, source):
            assert (await api.listed())[0] == 200
            for action in ("subscribe", "unsubscribe"):
                assert (await api.change(action, source.id))[0] == 403
            assert await domain.verbs.teams_of(source.id) == []

    await check_each_async(INTERFACES, check)


async def test_unknown_source_is_not_found() -> None:
    async def check(kind: type[Interface], action: str) -> None:
        async with using(kind) as (api, _, _):
            status, body = await api.change(action, NOBODY)
            assert status == 404
            assert "No source has this id" in str(body)
            assert (await api.change(action, "x"))[0] == (404 if kind is Rest else 400)

    await check_each_async(
        [(kind, action) for kind in INTERFACES for action in ("subscribe", "unsubscribe")], check
    )


async def test_story_status_is_set_for_subscribed_team() -> None:
    async def check(kind: type[Interface]) -> None:
        domain = memory_domain()
        story = await domain.told_story()
        async with serving(domain, Jobs(domain).worked()) as web:
            api = kind(web, await web.key(team=OURS))
            assert (await api.change("subscribe", story.primary_source_id))[0] == 200
            payload = {"storyId": str(story.id), "state": "archived"}
            body = {"taskId": "update-story-status", "payload": payload}
            sent = await web("POST", "/trigger", await web.key(), json=body)
            await web.work()
            run = (await web("GET", f"/trigger/runs/{sent.json()['id']}", await web.key())).json()
        assert (run["status"], run["output"]["teamIds"]) == ("COMPLETED", [str(OURS)])
        (state,) = await domain.verbs.reading_states(story.id)
        assert (state.team_id, state.state) == (OURS, ReadingState.ARCHIVED)

    await check_each_async(INTERFACES, check)


async def test_missing_tables_are_reported(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def within(*_: object) -> None:
        raise SchemaVersionError("relation zeke.sources")

    monkeypatch.setattr(domain.repository, "within", within)
    async with serving(domain, Jobs(domain).queue) as web:
        answer = await web("GET", f"/subscriptions?teamId={OURS}")
    assert answer.status_code == 503
    assert answer.json()["error"] == "The newsroom's tables are missing or too old; run `zeke migrate`"


async def test_routes_are_installed_only_with_their_tasks(domain: Domain) -> None:
    def routes(queue: Queue) -> list[str]:
        app = create_app(queue, WebSettings.load(), extensions=installed_extensions())
        return [path for path in app.openapi()["paths"] if path.startswith("/subscriptions")]

    async with Queue.in_memory(Catalog()) as other, Queue.in_memory(Jobs(domain).queue.catalog) as newsroom:
        assert routes(other) == []
        assert routes(newsroom) == ["/subscriptions", "/subscriptions/{source_id}"]
