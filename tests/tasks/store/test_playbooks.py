"""What the domain's store answers about playbooks and their runs, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.domain import Domain, there
from tests.tasks.store.samples import PLAYBOOK, STEPS, TEAM
from zeke_queue.errors import InvalidOptionError, SerializationError, UsageError
from zeke_tasks.store.playbooks import (
    NewRun,
    Playbook,
    PlaybookRun,
    PlaybookStatus,
    RunEvent,
    RunStatus,
    Step,
    TriggerSource,
)

NOBODY = UUID(int=7)
OTHERS = UUID(int=22)
RUN = NewRun(UUID(int=41), PLAYBOOK.id, TEAM, TriggerSource.API, NOBODY, {"topic": "ö"})


# Playbooks


async def _kept(domain: Domain, playbook: Playbook = PLAYBOOK) -> Playbook | None:
    return await domain.verbs.playbook(playbook.id, playbook.team_id)


async def _put(domain: Domain, *playbooks: Playbook) -> None:
    async with domain.rows() as rows:
        for playbook in playbooks:
            await rows.put_playbook(playbook)


async def test_playbook_belongs_to_its_team(domain: Domain) -> None:
    await _put(domain, PLAYBOOK)
    async with domain.rows() as rows:
        assert await rows.playbook(PLAYBOOK.id, TEAM) == PLAYBOOK
        assert await rows.playbook(PLAYBOOK.id, OTHERS) is None
        assert await rows.playbook(NOBODY, TEAM) is None


async def test_playbooks_of_all_teams_are_listed_by_id(domain: Domain) -> None:
    second = Playbook(UUID(int=32), OTHERS, "Weekly", [], PlaybookStatus.ARCHIVED)
    await _put(domain, second, PLAYBOOK)
    assert await domain.verbs.every_playbook() == [PLAYBOOK, second]


async def test_changed_playbook_replaces_earlier_one(fresh: Callable[[], Domain]) -> None:
    async def check(about: dict[str, Any]) -> None:
        domain = fresh()
        other = replace(PLAYBOOK, **about)
        await _put(domain, PLAYBOOK, other)
        assert await _kept(domain, other) == other

    cases = [
        {"name": "Nightly"},
        {"team_id": OTHERS},
        {"status": PlaybookStatus.ARCHIVED},
        {"steps": []},
        {"steps": STEPS[::-1]},
        {"steps": [*STEPS, Step("more", "ingest-pull", {"reason": "manual"})]},
        {"steps": [Step("ingest", "ingest-oneoff", {"url": "https://b.example/"}), STEPS[1]]},
        {"steps": [Step("ingest", "ingest-oneoff", {"url": True}), STEPS[1]]},
    ]
    await check_each_async(cases, check)


async def test_equal_playbook_changes_nothing_and_1_and_true_are_not_equal(domain: Domain) -> None:
    await _put(domain, PLAYBOOK, PLAYBOOK)
    assert await _kept(domain) == PLAYBOOK
    one, true = (replace(PLAYBOOK, steps=[Step("a", "b", {"n": n})]) for n in (1, True))
    await _put(domain, one, true)
    kept = there(await _kept(domain))
    assert kept.steps[0].input["n"] is True


async def test_draft_becomes_active_once(domain: Domain) -> None:
    done = Playbook(UUID(int=32), TEAM, "Done", [], PlaybookStatus.ARCHIVED)
    await _put(domain, PLAYBOOK, done)
    async with domain.rows() as rows:
        assert await rows.activate_playbook(PLAYBOOK.id)
        assert not await rows.activate_playbook(PLAYBOOK.id)
        assert not await rows.activate_playbook(done.id)
        assert not await rows.activate_playbook(NOBODY)
    assert await _kept(domain) == replace(PLAYBOOK, status=PlaybookStatus.ACTIVE)
    assert await _kept(domain, done) == done


# Runs


async def pending_run(domain: Domain) -> PlaybookRun:
    async with domain.rows() as rows:
        await rows.put_playbook(PLAYBOOK)
        made, new = await rows.ensure_run(RUN)
    assert new
    return made


@pytest.fixture
async def run(domain: Domain) -> PlaybookRun:
    return await pending_run(domain)


async def _run(domain: Domain) -> PlaybookRun:
    return there(await domain.verbs.run(RUN.id))


async def test_run_is_created_once_and_pending(domain: Domain, run: PlaybookRun) -> None:
    assert (run.id, run.playbook_id, run.team_id) == (RUN.id, PLAYBOOK.id, TEAM)
    assert (run.trigger_source, run.triggered_by, run.metadata) == (TriggerSource.API, NOBODY, {"topic": "ö"})
    assert (run.status, run.resumed, run.outputs, run.error) == (RunStatus.PENDING, 0, {}, None)
    assert (run.started_at, run.ended_at) == (None, None)
    async with domain.rows() as rows:
        other = replace(RUN, trigger_source=TriggerSource.SCHEDULE, metadata={})
        assert await rows.ensure_run(other) == (run, False)
        assert await rows.run(RUN.id) == run
        assert await rows.lock_run(RUN.id) == run


async def test_runs_of_a_playbook_are_listed_by_id(domain: Domain, run: PlaybookRun) -> None:
    async with domain.rows() as rows:
        first, _ = await rows.ensure_run(replace(RUN, id=UUID(int=40)))
        await rows.put_playbook(replace(PLAYBOOK, id=NOBODY))
        other, _ = await rows.ensure_run(replace(RUN, id=UUID(int=42), playbook_id=NOBODY))
        assert await rows.runs_of(PLAYBOOK.id) == [first, run]
        assert await rows.runs_of(NOBODY) == [other]
        assert await rows.runs_of(UUID(int=8)) == []


async def test_missing_playbook_has_no_runs(domain: Domain) -> None:
    async with domain.rows() as rows:
        with pytest.raises(UsageError, match=str(PLAYBOOK.id)):
            await rows.ensure_run(RUN)
        assert await rows.run(RUN.id) is None


async def test_missing_run_does_not_change(domain: Domain) -> None:
    async with domain.rows() as rows:
        assert await rows.run(NOBODY) is None
        assert await rows.lock_run(NOBODY) is None
        assert not await rows.begin_run(NOBODY)
        assert not await rows.resume_run(NOBODY)
        assert not await rows.end_run(NOBODY, RunStatus.FAILED)
        await rows.put_output(NOBODY, "step", 1)
        assert not await rows.put_run_event(RunEvent(NOBODY, 0, "run.created"))
        assert await rows.run_events(NOBODY) == []


async def test_run_begins_once(domain: Domain, run: PlaybookRun) -> None:
    begun = domain.clock.now()
    assert await domain.verbs.begin_run(RUN.id)
    domain.clock.advance(60)
    async with domain.rows() as rows:
        assert not await rows.begin_run(RUN.id)
        assert not await rows.resume_run(RUN.id)
    assert await _run(domain) == replace(run, status=RunStatus.RUNNING, started_at=begun)


async def test_run_ends_once(fresh: Callable[[], Domain]) -> None:
    async def check(before: RunStatus, status: RunStatus) -> None:
        domain = fresh()
        await pending_run(domain)
        if before is RunStatus.RUNNING:
            assert await domain.verbs.begin_run(RUN.id)
        domain.clock.advance(60)
        ended = domain.clock.now()
        assert await domain.verbs.end_run(RUN.id, status, "ä\x00" * 600)
        domain.clock.advance(60)
        async with domain.rows() as rows:
            assert not await rows.end_run(RUN.id, RunStatus.FAILED, "late")
            assert not await rows.begin_run(RUN.id)
        after = await _run(domain)
        assert (after.status, after.error, after.ended_at) == (status, "ä" * 512, ended)
        assert (after.started_at is not None) is (before is RunStatus.RUNNING)

    ends = [RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED]
    await check_each_async(product([RunStatus.PENDING, RunStatus.RUNNING], ends), check)


async def test_run_cannot_end_as_pending_or_running(fresh: Callable[[], Domain]) -> None:
    async def check(status: RunStatus) -> None:
        domain = fresh()
        run = await pending_run(domain)
        async with domain.rows() as rows:
            with pytest.raises(InvalidOptionError, match="status"):
                await rows.end_run(run.id, status)

    await check_each_async([RunStatus.PENDING, RunStatus.RUNNING], check)


async def test_failed_or_cancelled_run_is_resumed(fresh: Callable[[], Domain]) -> None:
    async def check(status: RunStatus) -> None:
        domain = fresh()
        run = await pending_run(domain)
        begun = domain.clock.now()
        for times in (1, 2):
            async with domain.rows() as rows:
                await rows.begin_run(RUN.id)
                await rows.put_output(RUN.id, "ingest", {"a": 1})
                await rows.end_run(RUN.id, status, "boom")
            domain.clock.advance(60)
            async with domain.rows() as rows:
                assert await rows.resume_run(RUN.id)
                assert not await rows.resume_run(RUN.id)
            assert await _run(domain) == replace(
                run, status=RunStatus.RUNNING, resumed=times, started_at=begun, outputs={"ingest": {"a": 1}}
            )

    await check_each_async([RunStatus.FAILED, RunStatus.CANCELLED], check)


async def test_run_cancelled_before_its_start_starts_when_resumed(domain: Domain, run: PlaybookRun) -> None:
    await domain.verbs.end_run(run.id, RunStatus.CANCELLED)
    domain.clock.advance(60)
    assert await domain.verbs.resume_run(run.id)
    assert (await _run(domain)).started_at == domain.clock.now()
    await domain.verbs.end_run(run.id, RunStatus.SUCCEEDED)
    assert not await domain.verbs.resume_run(run.id)


async def test_output_of_step_is_kept_once_as_json(domain: Domain, run: PlaybookRun) -> None:
    async with domain.rows() as rows:
        with pytest.raises(SerializationError):
            await rows.put_output(run.id, "null", object())
        await rows.put_output(run.id, "null", None)
        await rows.put_output(run.id, "object", {"b": (1, 2.0), 3: "ö"})
        await rows.put_output(run.id, "null", "late")
        await rows.put_output(run.id, "object", {})
    assert (await _run(domain)).outputs == {"null": None, "object": {"b": [1, 2.0], "3": "ö"}}


# Events


async def test_events_of_a_run_keep_their_order(domain: Domain, run: PlaybookRun) -> None:
    given = [
        RunEvent(run.id, 0, "run.started"),
        RunEvent(run.id, 0, "run.created", data={"by": "ö"}),
        RunEvent(run.id, 0, "step.started", "b"),
        RunEvent(run.id, 0, "step.started", "a"),
        RunEvent(run.id, 0, "step.failed", "a", {"error": "boom"}),
        RunEvent(run.id, 1, "step.started", "a"),
    ]
    put: list[RunEvent] = []
    for event in given:
        assert await domain.verbs.put_run_event(event)
        put.append(replace(event, at=domain.clock.now()))
        domain.clock.advance(1)
    assert await domain.verbs.run_events(run.id) == put


async def test_event_is_stored_once_per_run_round_kind_and_step(domain: Domain, run: PlaybookRun) -> None:
    async with domain.rows() as rows:
        other, _ = await rows.ensure_run(replace(RUN, id=NOBODY))
        first = RunEvent(run.id, 0, "run.started", data={"n": 1})
        assert await rows.put_run_event(first)
        assert not await rows.put_run_event(replace(first, data={"n": 2}))
        assert await rows.put_run_event(replace(first, round=1))
        assert await rows.put_run_event(replace(first, kind="run.failed"))
        assert await rows.put_run_event(replace(first, step=""))
        assert await rows.put_run_event(replace(first, run_id=other.id))
        assert [event.data for event in await rows.run_events(run.id)] == [{"n": 1}] * 4
