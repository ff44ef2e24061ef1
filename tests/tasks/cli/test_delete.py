"""``zeke delete`` and ``zeke export``: counted, exported, and deleted with ``--yes``."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from tests.tasks.cli.conftest import Zeke, told
from tests.tasks.domain import Domain, memory_domain, there
from tests.tasks.fuse import Burning, Fuse, Killed
from tests.tasks.jobs import Jobs
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import ZekeError
from zeke_queue.model import JobStatus
from zeke_queue.storage.access import NewKey, Scope
from zeke_tasks.cli.delete import ROUNDS_MAX, delete_team
from zeke_tasks.store.highlights import ReadingState
from zeke_tasks.store.model import ItemStatus

TEAM, OTHERS = UUID(int=21), UUID(int=22)


async def test_source_is_counted_and_then_deleted(zeke: Zeke, on_postgres: Domain) -> None:
    source = await on_postgres.source(name="A blog")
    await told(on_postgres, source=source)
    preview = await zeke("delete", "source", str(source.id)[:8])
    assert (preview.exit_code, preview.stdout) == (0, "Would delete source 'A blog': 1 item, 1 story.\n")
    assert "--yes" in preview.stderr
    assert await on_postgres.verbs.source(source.id) is not None
    done = await zeke.json("delete", "source", str(source.id), "--yes")
    assert done == {"source": "A blog", "deleted": True, "items": 1, "stories": 1, "moved": 0}
    assert await on_postgres.verbs.source(source.id) is None
    assert "No source has the id" in await zeke.fails("delete", "source", str(source.id), code=1)


async def test_story_is_deleted_and_its_page_is_read_again_only_if_named(
    zeke: Zeke, on_postgres: Domain
) -> None:
    jobs = Jobs(on_postgres)
    named = await jobs.run("ingest-oneoff", {"url": "https://a.example/bees"})
    item = await on_postgres.look(named["rawItemId"])
    await on_postgres.verbs.finish_item(item.id, ItemStatus.PROCESSED)
    story_id, _ = await on_postgres.story(item, "Bees make honey.")
    assert "1 item, 1 story" in await zeke.good("delete", "story", str(story_id), "--yes")
    assert await on_postgres.verbs.story(story_id) is None
    assert (await on_postgres.look(item.id)).status == "deleted"
    assert (await jobs.run("ingest-oneoff", {"url": "https://a.example/bees"}))["status"] == "pending"


async def test_team_is_deleted_with_its_keys_schedules_and_jobs(zeke: Zeke, on_postgres: Domain) -> None:
    story = await on_postgres.told_story()
    for team in (TEAM, OTHERS):
        await on_postgres.verbs.connect(team, story.primary_source_id)
        await on_postgres.verbs.set_reading_state(story.id, [team], ReadingState.READ)
    queue = Jobs(on_postgres).queue
    await _add_key(queue, TEAM)
    payload = {"storyId": story.id, "state": "read"}
    name = "update-story-status"
    await queue.schedules.put("daily", "0 6 * * *", task=name, payload={**payload, "teamId": TEAM})
    mine, all_teams, others = [
        (await queue.send(name, {**payload, **of})).id for of in ({"teamId": TEAM}, {}, {"teamId": OTHERS})
    ]
    step = (await queue.send(name, payload, meta={"teamId": str(TEAM)})).id

    exported = [json.loads(line) for line in (await zeke.good("export", "team", str(TEAM))).splitlines()]
    assert exported[-1] == {
        "kind": "end",
        "teamId": str(TEAM),
        "rows": {
            **dict.fromkeys(("v1_subscriptions", "v1_story_states", "v1_sources", "v1_stories"), 1),
            "keys": 1,
            "schedules": 1,
            "jobs": 2,
        },
    }
    rows = {line["kind"]: line.get("row") for line in exported}
    assert rows["v1_stories"]["id"] == str(story.id)
    assert rows["v1_story_states"]["team_id"] == str(TEAM)
    assert str(OTHERS) not in str(exported)

    counted = await zeke.json("delete", "team", str(TEAM))
    assert (counted["deleted"], there(await queue.get(mine)).status) == (False, JobStatus.QUEUED)
    done = await zeke.json("delete", "team", str(TEAM), "--yes")

    assert done["rows"] == counted["rows"]
    assert {name: count for name, count in done["rows"].items() if count} == {
        "keys": 1,
        "schedules": 1,
        "jobs": 2,
        "source_connections": 1,
        "team_story_states": 1,
    }
    assert [await queue.get(key) for key in (mine, step)] == [None, None]
    states = [there(await queue.get(key)).status for key in (all_teams, others)]
    assert states == [JobStatus.QUEUED] * 2
    assert await queue.schedules.list() == []
    assert str(TEAM) not in str(await on_postgres.everything())
    again = await zeke.good("delete", "team", str(TEAM), "--yes")
    assert again == f"Deleted team {TEAM}: no rows.\nIts id can't be used again.\n"
    kinds = [json.loads(line)["kind"] for line in (await zeke.good("export", "team", str(TEAM))).splitlines()]
    assert kinds == ["keys", "end"]


async def test_team_whose_jobs_send_others_keeps_its_rows(
    on_postgres: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = await on_postgres.told_story()
    await on_postgres.verbs.connect(TEAM, story.primary_source_id)
    queue = Jobs(on_postgres).queue
    rounds = 0

    async def cancel_and_send(job_id: UUID) -> bool:
        nonlocal rounds
        rounds += 1
        await queue.send("update-story-status", {"storyId": story.id, "state": "read", "teamId": TEAM})
        return bool(await on_postgres.storage.cancel([job_id]))

    await _add_key(queue, TEAM)
    await cancel_and_send(UUID(int=1))
    monkeypatch.setattr(queue, "cancel", cancel_and_send)
    with pytest.raises(
        ZekeError, match=r"only in part \(so far 1 API key\): jobs are still being sent .* Repeat the command"
    ):
        await delete_team(queue, on_postgres.repository, TEAM, keep=True)
    assert rounds == 1 + ROUNDS_MAX
    assert await on_postgres.verbs.teams_of(story.primary_source_id) == [TEAM]


class _Verbs:
    """A repository whose verbs a fuse can end."""

    def __init__(self, domain: Domain, fuse: Fuse) -> None:
        self._domain = domain
        self._fuse = fuse

    def within(self, transaction: Any) -> Any:
        return Burning(self._domain.repository.within(transaction), self._fuse)


async def _killed_at(point: int | None, monkeypatch: pytest.MonkeyPatch) -> int:
    """Kill the deletion of a team at a point, repeat it, and return how many points the first one passed."""
    domain, fuse = memory_domain(), Fuse(point)
    story = await domain.told_story()
    await domain.verbs.connect(TEAM, story.primary_source_id)
    queue = Jobs(domain).queue
    await _add_key(queue, TEAM)
    payload, name = {"storyId": story.id, "state": "read", "teamId": TEAM}, "update-story-status"
    await queue.schedules.put("daily", "0 6 * * *", task=name, payload=payload)
    job = (await queue.send(name, payload)).id
    storage = parts_of(queue).storage
    access = storage.access
    verbs: Any = _Verbs(domain, fuse)
    with monkeypatch.context() as patched, suppress(Killed):
        calls = (
            (queue, "cancel"),
            (storage, "delete_jobs"),
            (queue.schedules, "delete"),
            (access, "revoke_key"),
        )
        for at, call in calls:
            patched.setattr(at, call, fuse.around(getattr(at, call)))
        await delete_team(queue, verbs, TEAM, keep=True)
    await delete_team(queue, domain.repository, TEAM, keep=True)
    assert await queue.get(job) is None
    assert await queue.schedules.list() == []
    assert [key.revoked_on is None for key in await access.keys()] == [False]
    assert str(TEAM) not in str(await domain.everything())
    return fuse.passed


async def test_deletion_of_a_team_that_was_killed_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    points = await _killed_at(None, monkeypatch)
    assert points >= 8
    for point in range(points):
        await _killed_at(point, monkeypatch)


async def _add_key(queue: Queue, team: UUID) -> None:
    new = NewKey(UUID(int=1), "team", "mid_12345678", b"0" * 32, frozenset({Scope.READ}), team_id=team)
    await parts_of(queue).storage.access.create_key(new)
