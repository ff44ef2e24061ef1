"""``zeke playbook``: kept, listed, run, looked at, cancelled."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from pathlib import Path

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


async def test_a_playbook_is_kept_and_run_to_its_end(zeke: Zeke, on_postgres: Domain, tmp_path: Path) -> None:
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


async def test_a_run_that_fails_says_at_which_step(zeke: Zeke, tmp_path: Path) -> None:
    added = await zeke.json("playbook", "add", _file(tmp_path))
    result = await zeke("playbook", "run", added["id"])
    assert result.exit_code == 1
    assert "step.failed analysis" in result.stdout
    assert "run.metadata.storyId" in result.stdout


@pytest.mark.parametrize(("queue", "begun"), [("analyze-story", True), ("playbook-run", False)])
async def test_a_run_that_takes_longer_than_is_waited_for_goes_on_and_it_is_said_how_to_follow_it(
    zeke: Zeke, on_postgres: Domain, tmp_path: Path, queue: str, *, begun: bool
) -> None:
    story = await on_postgres.told_story("A queue in a table is enough for most teams.")
    added = await zeke.json("playbook", "add", _file(tmp_path))
    await on_postgres.storage.pause_queue(queue, paused=True)
    about = json.dumps({"storyId": str(story.id)})
    call = ("playbook", "run", added["id"], "--metadata", about, "--timeout", "1")
    result = await zeke(*call)
    assert result.exit_code == 1
    assert ("step.started analysis" in result.stdout) is begun
    (run,) = re.findall(r"^run (\S+)$", result.stderr, re.MULTILINE)
    said = " ".join(result.stderr.split())
    assert f"Run {run} has not {'ended' if begun else 'begun'} after 1 s" in said
    assert "`zeke worker --app zeke_tasks.catalog:catalog`" in said
    assert f"`zeke playbook show {run}`" in said

    result = await zeke(*call, "--json")
    told = json.loads(result.stderr.splitlines()[-1])
    assert (result.exit_code, told["error"]) == (1, "ResultTimeout")
    if begun:
        assert (json.loads(result.stdout))["status"] == "running"


async def test_a_run_whose_job_ended_without_it_is_not_shown_as_running(
    zeke: Zeke, on_postgres: Domain, tmp_path: Path
) -> None:
    story = await on_postgres.told_story("A queue in a table is enough for most teams.")
    added = await zeke.json("playbook", "add", _file(tmp_path))
    await on_postgres.storage.pause_queue("analyze-story", paused=True)
    about = json.dumps({"storyId": str(story.id)})
    result = await zeke("playbook", "run", added["id"], "--metadata", about, "--timeout", "1", "--json")
    run = json.loads(result.stdout)
    assert run["status"] == "running"
    # As a job, and not as a run.
    await on_postgres.storage.cancel([UUID(run["id"])])
    assert (await zeke.json("playbook", "show", run["id"]))["status"] == "cancelled"
    assert "has cancelled" in await zeke.fails("playbook", "cancel", run["id"], code=1)
    clock = on_postgres.clock
    clock.advance(3600)
    assert await on_postgres.storage.archive(0, 100)
    clock.advance(3600)
    assert await on_postgres.storage.purge(0, 100)
    gone = await zeke.json("playbook", "show", run["id"])
    assert (gone["status"], gone["error"]) == ("failed", "its job is gone")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"teamId": "team"}, "teamId: "),
        ({"steps": [{"name": "a"}]}, "steps.0.task: "),
        ({"steps": [{"name": "a", "task": "summarise"}]}, "summarise"),
        ({"steps": [STEPS[0], STEPS[0]]}, "analysis"),
        ({"steps": [{**STEPS[0], "input": DEEP}]}, "steps.0: The value nests more than"),
    ],
)
async def test_what_is_no_playbook_is_refused_in_words(
    zeke: Zeke, tmp_path: Path, more: dict[str, Any], words: str
) -> None:
    said = await zeke.fails("playbook", "add", _file(tmp_path, **more), code=2)
    assert words in said
    # What pydantic puts before a sentence of ours.
    assert "Value error" not in said
    assert await zeke.json("playbook", "list") == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("steps.anlysis.output.storyId", "but steps has analysis"),
        ("steps.summary.output.storyId", "'summary' comes no earlier"),
        ("run.metdata.storyId", "but run has id, metadata, teamId, triggeredBy"),
    ],
)
async def test_a_reference_that_no_run_could_follow_is_refused_in_words(
    zeke: Zeke, tmp_path: Path, path: str, said: str
) -> None:
    steps = [STEPS[0], {**STEPS[1], "input": {"storyId": {"$from": path}, "mode": "auto"}}]
    told = await zeke.fails("playbook", "add", _file(tmp_path, steps=steps), code=2)
    assert "step 'summary'" in told
    assert repr(path) in told
    assert said in told
    assert await zeke.json("playbook", "list") == []


@pytest.mark.parametrize("key", ["playbookId", "playbook_id"])
async def test_a_playbook_that_runs_itself_is_refused(zeke: Zeke, tmp_path: Path, key: str) -> None:
    playbook = "00000000-0000-4000-8000-00000000000a"
    given = {key: playbook.upper(), "teamId": TEAM, "triggerSource": "system"}
    steps = [{"name": "again", "task": "playbook-run", "input": given}]
    said = await zeke.fails("playbook", "add", _file(tmp_path, id=playbook, steps=steps), code=2)
    assert "'again'" in said
    assert "itself" in said
    assert await zeke.json("playbook", "list") == []
    other = _file(tmp_path, id=TEAM, steps=steps)
    assert (await zeke.json("playbook", "add", other))["id"] == TEAM


async def test_what_names_no_run_or_playbook_is_refused_in_words(zeke: Zeke, tmp_path: Path) -> None:
    added = await zeke.json("playbook", "add", _file(tmp_path))
    assert "zeke playbook list" in await zeke.fails("playbook", "run", "ff", code=1)
    assert "no id of a run" in await zeke.fails("playbook", "show", "last", code=2)
    assert TEAM in await zeke.fails("playbook", "cancel", TEAM, code=1)
    assert "--metadata" in await zeke.fails("playbook", "run", added["id"], "--metadata", "[]", code=2)
