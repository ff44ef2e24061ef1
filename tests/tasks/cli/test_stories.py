"""``zeke stories``, ``zeke story`` and ``zeke brief``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tasks.cli.conftest import told

if TYPE_CHECKING:
    from tests.tasks.cli.conftest import Zeke
    from tests.tasks.domain import Domain

HOSTILE = "\x1b]0;pwned\x07 [red]Not red[/red] :smile: \u202ereversed"


async def test_stories_are_listed_with_what_they_say(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres)
    (head, row) = (await zeke.good("stories")).splitlines()
    assert head.split()[:3] == ["id", "published", "chili"]
    assert row.startswith(str(story.id)[:8])
    assert "A queue in a table" in row
    (listed,) = await zeke.json("stories")
    assert listed["id"] == str(story.id)
    assert listed["brief"]["oneLiner"]
    # A list looks for no neighbours, and does not say that there are none.
    assert "nearest" not in listed


async def test_on_a_narrow_terminal_titles_and_briefs_are_whole(
    zeke: Zeke, on_postgres: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    title = "Why a queue in a table of the database that a team runs already is enough for most of them"
    await told(on_postgres, title)
    (listed,) = await zeke.json("stories")
    shown = await zeke.good("stories")
    whole = " ".join(shown.split())
    assert title in whole
    assert listed["brief"]["oneLiner"] in whole
    assert "A feed" in whole
    assert max(map(len, shown.splitlines())) <= 80


async def test_without_stories_it_says_what_takes_some_in(zeke: Zeke) -> None:
    assert "zeke ingest URL" in await zeke.good("stories")
    assert await zeke.json("stories") == []


async def test_a_story_is_shown_with_all_that_is_known_of_it(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres, url="https://a.example/queue")
    near = await told(on_postgres, "Another queue", "A queue in a table is what we run. " * 8)
    shown = await zeke.good("story", str(story.id))
    for words in (
        "A queue in a table",
        "https://a.example/queue",
        "A feed (rss",
        "by the stub, which is no AI",
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


async def test_a_story_that_nobody_has_analysed_is_shown_as_such(zeke: Zeke, on_postgres: Domain) -> None:
    story = await on_postgres.told_story("Some text.", title="Bare")
    shown = await zeke.good("story", str(story.id))
    assert "not yet" in shown
    assert (await zeke.json("story", str(story.id)))["analysis"] is None


@pytest.mark.parametrize("command", ["story", "brief"])
async def test_the_beginning_of_an_id_is_enough(zeke: Zeke, on_postgres: Domain, command: str) -> None:
    story = await told(on_postgres)
    await on_postgres.told_story("Another text.")
    assert "A queue in a table" in await zeke.good(command, str(story.id)[:8])


@pytest.mark.parametrize("command", ["story", "brief"])
async def test_what_names_no_story_is_refused_in_words(zeke: Zeke, on_postgres: Domain, command: str) -> None:
    await told(on_postgres)
    assert "zeke stories" in await zeke.fails(command, "my-story", code=2)
    assert "'0000000'" in await zeke.fails(command, "0000000", code=1)
    nobody = "00000000-0000-0000-0000-000000000000"
    assert nobody in await zeke.fails(command, nobody, code=1)


async def test_a_beginning_that_several_ids_have_is_refused_with_their_names(
    zeke: Zeke, on_postgres: Domain
) -> None:
    # Of seventeen ids, two begin with the same digit.
    stories = [await on_postgres.told_story(f"Text {n}.", title=f"Title {n}") for n in range(17)]
    digits = [story.id.hex[0] for story in stories]
    digit = next(each for each in digits if digits.count(each) > 1)
    said = await zeke.fails("story", digit, code=1)
    assert [story.title in said for story in stories if story.id.hex[0] == digit][:5] == [True] * min(
        digits.count(digit), 5
    )


async def test_strangers_words_do_nothing_to_the_terminal(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres, HOSTILE)
    for arguments in (("stories",), ("story", str(story.id)), ("brief", str(story.id))):
        shown = await zeke.good(*arguments)
        assert "]0;pwned [red]Not red[/red] :smile: reversed" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown


async def test_a_brief_is_shown_in_three_variants(zeke: Zeke, on_postgres: Domain) -> None:
    story = await told(on_postgres)
    shown = await zeke.good("brief", str(story.id))
    assert [name in shown for name in ("In one line", "In two sentences", "In short")] == [True] * 3
    value = await zeke.json("brief", str(story.id))
    assert value["storyId"] == str(story.id)
    assert {"oneLiner", "twoLiner", "elevator", "timeSavedSeconds"} <= value.keys()


async def test_a_brief_that_is_not_there_yet_is_written_if_asked_for(zeke: Zeke, on_postgres: Domain) -> None:
    story = await on_postgres.told_story("A queue in a table is enough for most teams.", title="Enough")
    assert "--regenerate" in await zeke.fails("brief", str(story.id), code=1)
    result = await zeke("brief", str(story.id), "--regenerate", "--json")
    assert result.exit_code == 0, result.output
    assert "briefs 1/1" in result.stderr
    assert (await zeke.json("brief", str(story.id)))["oneLiner"]


async def test_missing_tables_are_said_with_what_makes_them(zeke_without_tables: Zeke) -> None:
    for arguments in (("stories",), ("story", "1"), ("brief", "1"), ("sources", "list")):
        assert "zeke migrate" in await zeke_without_tables.fails(*arguments, code=1)


async def test_an_embedded_server_and_another_database_exclude_each_other(zeke: Zeke) -> None:
    said = await zeke.fails("stories", "--embedded", "--database", "postgresql://elsewhere", code=2)
    assert "leave out one" in said
