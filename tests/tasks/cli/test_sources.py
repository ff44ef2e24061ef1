"""``zeke sources``: added, listed, looked after, paused."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.cli.conftest import Zeke
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.web.conftest import Web, open_house
from zeke_queue.web import WebSettings, create_app
from zeke_queue.web.extension import installed_extensions
from zeke_queue.worker import Worker
from zeke_tasks.store.highlights import ReadingState
from zeke_tasks.store.model import HealthStatus, SourceType

FEED = "https://a.example/feed.xml"
TEAM, OTHERS = UUID(int=7), UUID(int=8)


async def test_source_is_added_once(zeke: Zeke) -> None:
    for looking in ("list", "health"):
        assert "zeke sources add URL" in await zeke.good("sources", looking)
    given = ("sources", "add", FEED, "--name", "A blog", "--every", "6", "--authority", "0.9")
    first, again = await zeke.json(*given), await zeke.json("sources", "add", f"{FEED}#top")
    assert (first["added"], again["added"]) == (True, False)
    assert first["id"] == again["id"]
    (listed,) = await zeke.json("sources", "list")
    told = {name: listed[name] for name in ("type", "name", "url", "checkFrequencyHours", "authorityScore")}
    assert told == {
        "type": "rss",
        "name": "A blog",
        "url": FEED,
        "checkFrequencyHours": 6,
        "authorityScore": 0.9,
    }


async def test_channel_is_recognised_and_named_by_its_host(zeke: Zeke) -> None:
    await zeke.good("sources", "add", "https://www.youtube.com/@someone")
    (listed,) = await zeke.json("sources", "list")
    assert (listed["type"], listed["name"]) == ("youtube_channel", "www.youtube.com")


async def test_search_is_added_once_for_its_words_order_and_duration(zeke: Zeke) -> None:
    given = ("sources", "add", " postgres  queues", "--type", "youtube_search")
    first, again = (
        await zeke.json(*given),
        await zeke.json(*given, "--order", "relevance", "--duration", "any"),
    )
    assert (first["added"], again["added"], first["id"] == again["id"]) == (True, False, True)
    (listed,) = await zeke.json("sources", "list")
    assert (listed["name"], listed["url"]) == ("postgres queues", None)
    assert listed["metadata"] == {"query": "postgres queues"}
    other = await zeke.json(*given, "--order", "date", "--duration", "long")
    assert other["added"]
    assert other["metadata"] == {"query": "postgres queues", "order": "date", "duration": "long"}


async def test_invalid_source_is_refused_with_the_option(zeke: Zeke) -> None:
    async def check(named: str, *wrong: str) -> None:
        assert f"zeke: {named}: " in await zeke.fails("sources", "add", *wrong, code=2)

    cases = [
        ("URL", "ftp://a.example/feed"),
        ("URL", "notaurl"),
        ("URL", FEED, "--type", "youtube_search"),
        ("URL", " ", "--type", "youtube_search"),
        ("--every", FEED, "--every", "0"),
        ("--every", FEED, "--every", "9000"),
        ("--authority", FEED, "--authority", "1.5"),
        ("--authority", FEED, "--authority", "nan"),
        ("--type", FEED, "--type", "manual"),
        ("--name", FEED, "--name", " "),
        ("--order", FEED, "--order", "date"),
        ("--order", "bees", "--type", "youtube_search", "--order", "newest"),
        ("--duration", "bees", "--type", "youtube_search", "--duration", "2h"),
    ]
    await check_each_async(cases, check)
    assert await zeke.json("sources", "list") == []


async def test_health_shows_the_last_check(zeke: Zeke, on_postgres: Domain) -> None:
    well, ill, new = [await on_postgres.source(f"https://{n}.example/", name=n) for n in ("a", "b", "c")]
    await on_postgres.verbs.record_success(
        well.id, next_check_in=60, etag=None, last_modified=None, status=HealthStatus.OK
    )
    await on_postgres.verbs.record_failure(
        ill.id, next_check_in=60, message="the server \x1b[31manswered 500"
    )
    shown = (await zeke.good("sources", "health")).splitlines()
    assert [line.split()[1:3] for line in shown[1:]] == [
        ["rss", word] for word in ("ok", "error", "unchecked")
    ]
    assert "the server [31manswered 500" in shown[2]
    known = {one["id"]: one["health"] for one in await zeke.json("sources", "health")}
    assert known[str(ill.id)]["status"] == "error"
    assert known[str(new.id)] is None


async def test_health_is_wrapped_on_a_narrow_terminal(
    zeke: Zeke, on_postgres: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    name = "The workbench of those who build queues in tables, and of all the others"
    url = f"https://a.example/{'feed/' * 30}"
    source = await on_postgres.source(url, name=name)
    said = f"{url}: the server answered 503 Service Unavailable, and said nothing of when to come back"
    await on_postgres.verbs.record_failure(source.id, next_check_in=60, message=said)
    shown = await zeke.good("sources", "health")
    for words in ("rss", "error", f"{on_postgres.clock.now() + timedelta(seconds=60):%Y-%m-%d %H:%M}"):
        assert words in shown.splitlines()[1]
    whole = "".join(shown.split())
    for words in (name, said, "(failing for ", "and no success before"):
        assert "".join(words.split()) in whole
    assert max(map(len, shown.splitlines())) <= 80

    shown = await zeke.good("sources", "list")
    assert url in shown
    assert "".join(name.split()) in "".join(shown.split())


async def test_manual_source_has_no_frequency(zeke: Zeke, on_postgres: Domain) -> None:
    await on_postgres.source("https://a.example/page", type=SourceType.MANUAL, name="Uploads")
    assert " h " not in await zeke.good("sources", "list")
    (listed,) = await zeke.json("sources", "list")
    assert listed["checkFrequencyHours"] is None
    assert "unchecked" not in await zeke.good("sources", "health")


async def test_ids_are_shown_long_enough_to_differ(zeke: Zeke, on_postgres: Domain) -> None:
    # They were made in the same second, and begin with the time.
    made = [await on_postgres.source(f"https://{n}.example/", name=str(n)) for n in range(3)]
    shown = [line.split()[0] for line in (await zeke.good("sources", "list")).splitlines()[1:]]
    assert len(set(shown)) == 3
    await zeke.good("sources", "pause", shown[1])
    paused = [one["name"] for one in await zeke.json("sources", "list") if not one["active"]]
    assert paused == [made[1].name]


async def test_source_is_paused_and_resumed(zeke: Zeke, on_postgres: Domain) -> None:
    source = await on_postgres.source()
    assert "is paused; " in await zeke.good("sources", "pause", str(source.id))
    assert "is paused already" in await zeke.good("sources", "pause", str(source.id))
    assert "paused" in await zeke.good("sources", "list")
    assert "paused" in await zeke.good("sources", "health")
    resumed = await zeke.json("sources", "resume", str(source.id)[:12])
    assert resumed == {"id": str(source.id), "name": "A feed", "active": True, "changed": True}


async def test_unknown_source_is_refused_with_advice(zeke: Zeke, on_postgres: Domain) -> None:
    await on_postgres.source()
    assert "zeke sources list" in await zeke.fails("sources", "pause", "blog", code=2)
    assert "'ff'" in await zeke.fails("sources", "resume", "ff", code=1)
    unknown = "00000000-0000-0000-0000-000000000000"
    assert unknown in await zeke.fails("sources", "pause", unknown, code=1)


async def test_team_subscribes_and_unsubscribes(zeke: Zeke, on_postgres: Domain) -> None:
    source, other = await on_postgres.source(), await on_postgres.source("https://b.example/feed")
    given = ("sources", "subscribe", source.id.hex[:20], "--team", str(TEAM))
    assert f"`zeke sources subscribe ID --team {TEAM}`" in await zeke.good(
        "sources", "list", "--team", str(TEAM)
    )
    assert await zeke.good(*given) == f"Team {TEAM} subscribes to A feed.\n"
    assert await zeke.good(*given) == f"Team {TEAM} subscribes to A feed; nothing changed.\n"
    await zeke.good("sources", "subscribe", str(other.id), "--team", str(OTHERS))
    (listed,) = await zeke.json("sources", "list", "--team", str(TEAM))
    assert listed["id"] == str(source.id)
    # The installed routes see the same rows.
    queue = Jobs(on_postgres).queue
    app = create_app(
        queue, WebSettings.load(), authenticator=open_house(queue), extensions=installed_extensions()
    )
    answer = await Web(app, queue)("GET", f"/subscriptions?teamId={TEAM}")
    assert [one["id"] for one in answer.json()["sources"]] == [str(source.id)]
    # The beginning of the id that the list shows suffices, although other sources begin like it.
    shown = (await zeke.good("sources", "list", "--team", str(TEAM))).splitlines()[1].split()[0]
    ended = await zeke.json("sources", "unsubscribe", shown, "--team", str(TEAM))
    told = {"teamId": str(TEAM), "sourceId": str(source.id), "subscribed": False, "changed": True}
    assert ended == told
    assert await zeke.json("sources", "list", "--team", str(TEAM)) == []
    assert await on_postgres.verbs.teams_of(other.id) == [OTHERS]
    assert "--team: must be a UUID" in await zeke.fails(*given[:-1], "blog", code=2)


async def test_story_status_is_set_for_subscribed_team(zeke: Zeke, on_postgres: Domain) -> None:
    story = await on_postgres.told_story()
    await zeke.good("sources", "subscribe", str(story.primary_source_id), "--team", str(TEAM))
    queue = Jobs(on_postgres).worked()
    run = await queue.trigger("update-story-status", {"storyId": str(story.id), "state": "read"})
    await Worker(queue).drain()
    assert (await run.result())["teamIds"] == [str(TEAM)]
    (state,) = await on_postgres.verbs.reading_states(story.id)
    assert (state.team_id, state.state) == (TEAM, ReadingState.READ)
