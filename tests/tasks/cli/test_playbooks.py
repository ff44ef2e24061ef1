"""``zeke playbook``: kept, listed, run, looked at, cancelled."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.cli.conftest import Zeke
from tests.tasks.domain import Domain

TEAM = "00000000-0000-4000-8000-000000000001"
DEEP = json.loads('{"a": ' * 300 + "0" + "}" * 300)
STEPS = [
    {
        "name": "analysis",
        "task": "analyze-story",
        "input": {"storyId": {"$from": "run.metadata.storyId"}, "trigger": "auto"},
    },
    {
        "name": "summary",
        "task": "summarize-story",
        "input": {"storyId": {"$from": "steps.analysis.output.storyId"}, "mode": "force"},
    },
]


def _file(folder: Path, **more: Any) -> str:
    file = folder / "playbook.json"
    file.write_text(json.dumps({"teamId": TEAM, "name": "Digest", "steps": STEPS, **more}), encoding="utf-8")
    return str(file)


async def test_playbook_is_added_listed_and_run(zeke: Zeke, on_postgres: Domain, tmp_path: Path) -> None:
    story = await on_postgres.told_story("A queue in a table is enough for most teams.")
    added = await zeke.json("playbook", "add", _file(tmp_path))
    assert "analysis → summary" in await zeke.good("playbook", "list")
    about = json.dumps({"storyId": str(story.id)})
    done = await zeke.json("playbook", "run", added["id"][:8], "--metadata", about)
    assert done["status"] == "succeeded"
    assert done["outputs"]["summary"]["written"]
    shown = await zeke.good("playbook", "show", done["id"])
    assert "step.completed summary" in shown
    said = await zeke.fails("playbook", "cancel", done["id"], code=1)
    assert "has succeeded" in said


async def test_failed_run_names_its_step(zeke: Zeke, tmp_path: Path) -> None:
    added = await zeke.json("playbook", "add", _file(tmp_path))
    result = await zeke("playbook", "run", added["id"])
    assert result.exit_code == 1
    assert "step.failed analysis" in result.stdout
    assert "run.metadata.storyId" in result.stdout


@pytest.mark.nightly
async def test_run_that_outlasts_the_timeout_continues(
    zeke: Zeke, on_postgres: Domain, tmp_path: Path
) -> None:
    call = (*await _run(zeke, on_postgres, tmp_path, paused="analyze-story"), "--timeout", "1")
    result = await zeke(*call)
    assert result.exit_code == 1
    assert "step.started analysis" in result.stdout
    _says_how_to_follow(result.stderr, "has not ended after 1 s")

    result = await zeke(*call, "--json")
    run = json.loads(result.stdout)
    assert (result.exit_code, _error(result), run["status"]) == (1, "ResultTimeoutError", "running")

    # A run is shown as its job ended, here cancelled as a job and not as a run.
    await on_postgres.storage.cancel([UUID(run["id"])])
    assert (await zeke.json("playbook", "show", run["id"]))["status"] == "cancelled"
    assert "has cancelled" in await zeke.fails("playbook", "cancel", run["id"], code=1)
    on_postgres.clock.advance(3600)
    assert await on_postgres.storage.archive(0, 100)
    on_postgres.clock.advance(3600)
    assert await on_postgres.storage.purge(0, 100)
    gone = await zeke.json("playbook", "show", run["id"])
    assert (gone["status"], gone["error"]) == ("failed", "its job no longer exists")


@pytest.mark.nightly
async def test_run_that_did_not_begin_before_the_timeout(
    zeke: Zeke, on_postgres: Domain, tmp_path: Path
) -> None:
    call = (*await _run(zeke, on_postgres, tmp_path, paused="playbook-run"), "--timeout", "1")
    result = await zeke(*call)
    assert result.exit_code == 1
    assert "step.started analysis" not in result.stdout
    _says_how_to_follow(result.stderr, "has not begun after 1 s")
    result = await zeke(*call, "--json")
    assert (result.exit_code, _error(result)) == (1, "ResultTimeoutError")


async def _run(zeke: Zeke, domain: Domain, folder: Path, *, paused: str) -> tuple[str, ...]:
    """Return the call that runs a playbook over a story, with the jobs of one queue paused."""
    story = await domain.told_story("A queue in a table is enough for most teams.")
    added = await zeke.json("playbook", "add", _file(folder))
    await domain.storage.pause_queue(paused, paused=True)
    return ("playbook", "run", added["id"], "--metadata", json.dumps({"storyId": str(story.id)}))


def _says_how_to_follow(stderr: str, words: str) -> None:
    (run,) = re.findall(r"^run (\S+)$", stderr, re.MULTILINE)
    said = " ".join(stderr.split())
    assert f"Run {run} {words}" in said
    assert "`zeke worker --app zeke_tasks.catalog:catalog`" in said
    assert f"`zeke playbook show {run}`" in said


def _error(result: Any) -> str:
    return json.loads(result.stderr.splitlines()[-1])["error"]


async def test_invalid_playbook_is_refused_with_reason(zeke: Zeke, tmp_path: Path) -> None:
    async def check(more: dict[str, Any], *words: str) -> None:
        said = await zeke.fails("playbook", "add", _file(tmp_path, **more), code=2)
        assert [word for word in words if word not in said] == []
        # What pydantic puts before a sentence of ours.
        assert "Value error" not in said

    misspelt = "steps.anlysis.output.storyId"
    refers = {**STEPS[1], "input": {"storyId": {"$from": misspelt}, "mode": "auto"}}
    cases = {
        "team": ({"teamId": "team"}, "teamId: "),
        "no task": ({"steps": [{"name": "a"}]}, "steps.0.task: "),
        "unknown task": ({"steps": [{"name": "a", "task": "summarise"}]}, "summarise"),
        "repeated step": ({"steps": [STEPS[0], STEPS[0]]}, "analysis"),
        "deep input": ({"steps": [{**STEPS[0], "input": DEEP}]}, "steps.0: The value nests more than"),
        "misspelt": (
            {"steps": [STEPS[0], refers]},
            "step 'summary'",
            repr(misspelt),
            "but steps has analysis",
        ),
        "playbookId of itself": (_calling(SELF, "playbookId"), "'again'", "itself"),
        "playbook_id of itself": (_calling(SELF, "playbook_id"), "'again'", "itself"),
    }
    await check_each_async(cases, check)
    assert await zeke.json("playbook", "list") == []
    other = _file(tmp_path, **_calling(TEAM, "playbookId"))
    assert (await zeke.json("playbook", "add", other))["id"] == TEAM


SELF = "00000000-0000-4000-8000-00000000000a"


def _calling(playbook: str, key: str) -> dict[str, Any]:
    """Return a playbook of this id with a step that runs ``SELF``."""
    given = {key: SELF.upper(), "teamId": TEAM, "triggerSource": "system"}
    return {"id": playbook, "steps": [{"name": "again", "task": "playbook-run", "input": given}]}


async def test_unknown_run_or_playbook_is_refused_with_advice(zeke: Zeke, tmp_path: Path) -> None:
    added = await zeke.json("playbook", "add", _file(tmp_path))
    assert "zeke playbook list" in await zeke.fails("playbook", "run", "ff", code=1)
    said = await zeke.fails("playbook", "show", "last", code=2)
    assert "ID: must be the id of a run, got 'last'; pass a UUID" in said
    assert TEAM in await zeke.fails("playbook", "cancel", TEAM, code=1)
    assert "--metadata" in await zeke.fails("playbook", "run", added["id"], "--metadata", "[]", code=2)
