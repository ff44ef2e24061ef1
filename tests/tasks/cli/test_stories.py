"""``zeke stories``, ``zeke story`` and ``zeke brief``."""

from __future__ import annotations

import pytest

from tests.cases import check_each_async
from tests.tasks.cli.conftest import Zeke, told
from tests.tasks.domain import Domain

HOSTILE = "\x1b]0;pwned\x07 [red]Not red[/red] :smile: \u202ereversed"


async def test_stories_are_listed_within_the_width_of_the_terminal(
    zeke: Zeke, on_postgres: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    title = "Why a queue in a table of the database that a team runs already is enough for most of them"
    story = await told(on_postgres, title)
    shown = await zeke.good("stories")
    head, row, *_ = shown.splitlines()
    assert head.split()[:3] == ["id", "published", "chili"]
    assert row.startswith(str(story.id)[:8])
    (listed,) = await zeke.json("stories")
    whole = " ".join(shown.split())
    for words in (title, listed["brief"]["oneLiner"], "A feed"):
        assert words in whole
    assert max(map(len, shown.splitlines())) <= 80
    assert listed["id"] == str(story.id)
    assert listed["brief"]["oneLiner"]
    # A list does not search for neighbours, and does not say that there are none.
    assert "nearest" not in listed


async def test_story_is_shown_with_all_details(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres, url="https://a.example/queue")
    near = await told(on_postgres, "Another queue", "A queue in a table is what we run. " * 8)
    shown = await zeke.good("story", str(story.id))
    for words in (
        "A queue in a table",
        "https://a.example/queue",
        "A feed (rss",
        "by the stub (not an AI)",
        "Why it matters",
        "In one line",
        "In two sentences",
        "metric: We measured 40% less latency",
        str(near.id)[:8],
        "Another queue",
    ):
        assert words in shown
    value = await zeke.json("story", str(story.id))
    assert value["analysis"]["state"] == "stub"
    assert value["analysis"]["whyItMatters"]
    scores = [highlight["score"] for highlight in value["highlights"]]
    assert scores == sorted(scores, reverse=True)
    assert [one["id"] for one in value["nearest"]] == [str(near.id)]


async def test_story_is_named_by_the_beginning_of_its_id(zeke: Zeke, on_postgres: Domain) -> None:
    async def check(command: str) -> None:
        assert "A queue in a table" in await zeke.good(command, str(story.id)[:8])
        assert "zeke stories" in await zeke.fails(command, "my-story", code=2)
        assert "'0000000'" in await zeke.fails(command, "0000000", code=1)
        unknown = "00000000-0000-0000-0000-000000000000"
        assert unknown in await zeke.fails(command, unknown, code=1)

    story = await told(on_postgres)
    await on_postgres.told_story("Another text.")
    await check_each_async(["story", "brief"], check)


async def test_ambiguous_id_is_refused_with_the_titles(zeke: Zeke, on_postgres: Domain) -> None:
    # Of seventeen ids, two begin with the same digit.
    stories = [await on_postgres.told_story(f"Text {n}.", title=f"Title {n}") for n in range(17)]
    digits = [story.id.hex[0] for story in stories]
    digit = next(each for each in digits if digits.count(each) > 1)
    said = await zeke.fails("story", digit, code=1)
    begin_so = [story.title for story in stories if story.id.hex[0] == digit]
    assert [title for title in begin_so[:5] if title not in said] == []


async def test_control_characters_of_titles_are_removed(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres, HOSTILE)
    for arguments in (("stories",), ("story", str(story.id)), ("brief", str(story.id))):
        shown = await zeke.good(*arguments)
        assert "]0;pwned [red]Not red[/red] :smile: reversed" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown


async def test_brief_is_shown_in_three_variants(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres)
    shown = await zeke.good("brief", str(story.id))
    assert [name for name in ("In one line", "In two sentences", "In short") if name not in shown] == []
    value = await zeke.json("brief", str(story.id))
    assert value["storyId"] == str(story.id)
    assert {"oneLiner", "twoLiner", "elevator", "timeSavedSeconds"} <= value.keys()


@pytest.mark.nightly
async def test_story_without_analysis_and_brief_is_shown_and_regenerated(
    zeke: Zeke, on_postgres: Domain
) -> None:
    assert "zeke ingest URL" in await zeke.good("stories")
    assert await zeke.json("stories") == []
    story = await on_postgres.told_story("A queue in a table is enough for most teams.", title="Enough")
    assert "not yet" in await zeke.good("story", str(story.id))
    assert (await zeke.json("story", str(story.id)))["analysis"] is None
    assert "--regenerate" in await zeke.fails("brief", str(story.id), code=1)
    result = await zeke("brief", str(story.id), "--regenerate", "--json")
    assert result.exit_code == 0, result.output
    assert "briefs 1/1" in result.stderr
    assert (await zeke.json("brief", str(story.id)))["oneLiner"]


async def test_missing_tables_are_reported_with_the_command(zeke_without_tables: Zeke) -> None:
    for arguments in (("stories",), ("story", "1"), ("brief", "1"), ("sources", "list")):
        assert "zeke migrate" in await zeke_without_tables.fails(*arguments, code=1)


async def test_embedded_and_database_exclude_each_other(zeke: Zeke) -> None:
    said = await zeke.fails("stories", "--embedded", "--database", "postgresql://elsewhere", code=2)
    assert "leave out one" in said
