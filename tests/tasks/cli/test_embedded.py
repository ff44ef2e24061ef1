"""With ``--embedded``, the commands that people are told to type have it too."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from tests.tasks.cli.test_playbooks import STEPS, TEAM

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tasks.cli.conftest import Zeke
    from tests.tasks.domain import Domain

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def embedded(zeke: Zeke, domain_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Zeke:
    """The command line, whose embedded server is the database of the test."""
    server = nullcontext(Mock(dsn=domain_dsn))
    monkeypatch.setattr("zeke_queue.storage.embedded.EmbeddedPostgres.start", lambda _: server)
    return zeke


def _told(result: Any) -> list[str]:
    """Return the commands that people were told to type."""
    return re.findall(r"`(zeke [^`]*)`", " ".join(result.output.split()))


@pytest.mark.parametrize(
    "call",
    [
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
    ],
)
async def test_what_people_are_told_to_type_works_on_the_same_database(
    embedded: Zeke, call: tuple[str, ...]
) -> None:
    commands = _told(await embedded(*call, "--embedded"))
    assert commands
    assert all(command.endswith(" --embedded") for command in commands), commands
    assert not any("--embedded" in command for command in _told(await embedded(*call)))


@pytest.mark.parametrize(
    "command",
    ["stories", "story", "brief", "ingest", "upload", "sources add", "sources list", "playbook run"],
)
async def test_the_help_of_each_command_names_the_options_that_all_share(zeke: Zeke, command: str) -> None:
    assert "--embedded" in await zeke.good(*command.split(), "--help")


async def test_a_source_that_is_paused_and_a_story_without_a_brief(
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


async def test_what_goes_on_when_the_time_is_up(embedded: Zeke, on_postgres: Domain, tmp_path: Path) -> None:
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
    assert "running" in await embedded.good(*follow.split()[1:])


@pytest.mark.parametrize("shared", [(), ("--embedded",)], ids=["named", "embedded"])
async def test_what_was_taken_in_goes_on_when_the_time_is_up(
    embedded: Zeke, on_postgres: Domain, tmp_path: Path, shared: tuple[str, ...]
) -> None:
    await on_postgres.storage.pause_queue("analyze-story", paused=True)
    file = tmp_path / "notes.txt"
    file.write_text("A queue in a table is enough for most teams.", encoding="utf-8")
    result = await embedded("upload", str(file), "--timeout", "1", *shared)
    assert "1 job did not end within 1 s." in result.stdout
    assert _told(result) == [" ".join(("zeke worker --app zeke_tasks.catalog:catalog", *shared))]
