"""With ``--embedded``, the suggested commands have it too."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.cases import check_each_async
from tests.tasks.cli.conftest import Zeke
from tests.tasks.cli.test_playbooks import STEPS, TEAM
from tests.tasks.domain import Domain
from tests.tasks.emptying import empty

pytestmark = pytest.mark.nightly

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def embedded(zeke: Zeke, domain_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Zeke:
    """The command line, whose embedded server is the database of the test."""
    server = nullcontext(Mock(dsn=domain_dsn))
    monkeypatch.setattr("zeke_queue.storage.embedded.server.EmbeddedPostgres.start", lambda _: server)
    return zeke


def _told(result: Any) -> list[str]:
    return re.findall(r"`(zeke [^`]*)`", " ".join(result.output.split()))


async def test_suggested_commands_use_the_same_database(embedded: Zeke, domain_dsn: str) -> None:
    async def check(*call: str) -> None:
        empty(domain_dsn)
        commands = _told(await embedded(*call, "--embedded"))
        assert commands
        assert all(command.endswith(" --embedded") for command in commands), commands
        assert not any("--embedded" in command for command in _told(await embedded(*call)))

    cases = [
        ("sources", "list"),
        ("sources", "health"),
        ("sources", "add", "https://a.example/feed"),
        ("sources", "pause", NOBODY),
        ("sources", "pause", "ff"),
        ("sources", "pause", "blog"),
        ("stories",),
        ("story", NOBODY),
        ("story", "ff"),
        ("brief", "blog"),
        ("playbook", "list"),
        ("playbook", "run", NOBODY),
        ("playbook", "run", "ff"),
        ("playbook", "show", "ff"),
    ]
    await check_each_async(cases, check)


async def test_help_of_every_command_lists_the_shared_options(zeke: Zeke) -> None:
    async def check(command: str) -> None:
        assert "--embedded" in await zeke.good(*command.split(), "--help")

    plain = ["stories", "story", "brief", "ingest", "upload"]
    await check_each_async([*plain, "sources add", "sources list", "playbook run"], check)


async def test_suggested_commands_of_a_paused_source_and_a_missing_brief(
    embedded: Zeke, on_postgres: Domain
) -> None:
    source = await on_postgres.source()
    (resume,) = _told(await embedded("sources", "pause", str(source.id), "--embedded"))
    assert resume == f"zeke sources resume {source.id} --embedded"
    await embedded.good(*resume.split()[1:])
    story = await on_postgres.told_story("A queue in a table is enough for most teams.")
    (anew,) = _told(await embedded("brief", str(story.id), "--embedded"))
    assert anew == f"zeke brief {story.id} --regenerate --embedded"
    await embedded.good(*anew.split()[1:])


async def test_suggested_commands_after_the_timeout(
    embedded: Zeke, on_postgres: Domain, tmp_path: Path
) -> None:
    story = await on_postgres.told_story("A queue in a table is enough for most teams.")
    await on_postgres.storage.pause_queue("analyze-story", paused=True)
    worker = "zeke worker --app zeke_tasks.catalog:catalog --embedded"
    brief = await embedded("brief", str(story.id), "--regenerate", "--timeout", "1", "--embedded")
    assert brief.exit_code == 1
    see, goes_on = _told(brief)
    assert goes_on == worker
    assert re.fullmatch(r"zeke job show [0-9a-f-]{36} --embedded", see)

    file = tmp_path / "playbook.json"
    file.write_text(json.dumps({"teamId": TEAM, "name": "Digest", "steps": STEPS}), encoding="utf-8")
    added = await embedded.json("playbook", "add", str(file))
    about = json.dumps({"storyId": str(story.id)})
    run = await embedded("playbook", "run", added["id"], "--metadata", about, "--timeout", "1", "--embedded")
    assert run.exit_code == 1
    started, follow = _told(run)
    assert started == worker
    assert follow.endswith(" --embedded")
    assert "running" in await embedded.good(*follow.split()[1:])


async def test_unfinished_upload_suggests_a_worker(
    embedded: Zeke, on_postgres: Domain, tmp_path: Path
) -> None:
    async def check(*shared: str) -> None:
        file = tmp_path / "notes.txt"
        file.write_text(f"A queue in a table is enough for most teams. {shared}", encoding="utf-8")
        result = await embedded("upload", str(file), "--timeout", "1", *shared)
        assert "1 job did not end within 1 s." in result.stdout
        assert _told(result) == [" ".join(("zeke worker --app zeke_tasks.catalog:catalog", *shared))]

    await on_postgres.storage.pause_queue("ingest-from-upload", paused=True)
    await check_each_async({"named": (), "embedded": ("--embedded",)}, check)
