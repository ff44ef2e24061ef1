"""``zeke ingest``: a user's own feeds and articles, on a real database, from a loopback server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self
from unittest.mock import Mock

import psycopg
import pytest
import typer
from typer.testing import CliRunner

from tests.cases import each
from zeke_queue.cli.session import Options
from zeke_queue.errors import UsageError
from zeke_queue.model import JobStatus, RowState
from zeke_queue.system.logging import LEVELS
from zeke_queue.system.settings import Settings
from zeke_tasks.cli.intake import ingest as ingest_command
from zeke_tasks.cli.report import Finding, Outcome
from zeke_tasks.cli.run_ingest import ingest, limit_of_ai, limits_of_pages
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch import AddressRefused, FeedError, UrlRefused, WebClient, WebOptions
from zeke_tasks.fetch.parser_pool import ParserKilled, ParserPool
from zeke_tasks.ingest.named import NamedServers
from zeke_tasks.ingest.recognise import feed_of
from zeke_tasks.store.analysis import AnalysisState
from zeke_tasks.store.model import ItemStatus
from zeke_tasks.stories.fetch_content import fetch_content
from zeke_tasks.testing.web import ScriptedWeb, feed, fetched, page


@pytest.fixture
def settings(domain_dsn: str) -> Settings:
    return Settings.load(database_primary_url=domain_dsn, jobs_heartbeat_interval=0.4, jobs_lease=600)


class Site:
    """A blog with a feed of two articles, and an article that no feed has."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.server = LoopbackServer(self._answer)

    async def __aenter__(self) -> Self:
        await self.server.__aenter__()
        base = self.server.base_url
        for topic in ("bees", "birds", "trees"):
            self.answers[f"/{topic}"] = Answer(body=page(topic.title(), topic).encode())
        listing = feed(("Bees", f"{base}/bees"), ("Birds", f"{base}/birds"), title="The garden")
        # Under HTML's media type, as careless servers send it: the body decides.
        self.answers["/feed"] = Answer(body=listing.encode())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.server.__aexit__(None, None, None)

    async def _answer(self, request: Request) -> Answer:
        return self.answers.get(request.path, Answer(status=404))

    def url(self, path: str) -> str:
        return self.server.base_url + path


async def _ingest(
    settings: Settings, *urls: str, timeout: float = 60.0
) -> tuple[Sequence[Outcome], Sequence[Finding]]:
    came = await ingest(urls, settings, allow_private=True, timeout=timeout)
    return came.outcomes, came.found


def _titles(found: Sequence[Finding]) -> set[str]:
    return {finding.story.title for finding in found if finding.story}


async def test_feeds_and_articles_are_read_analysed_and_briefed(settings: Settings) -> None:
    async with Site() as site:
        came = await ingest([site.url("/feed"), site.url("/trees#top")], settings, allow_private=True)
        hits = site.server.hits
    assert [(one.what, one.items, one.stories, one.error) for one in came.outcomes] == [
        ("feed", 2, 2, None),
        ("article", 1, 1, None),
    ]
    assert _titles(came.found) == {"Bees", "Birds", "Trees"}
    # The job reads the answer of the first fetch of the URL.
    assert hits == {"/feed": 1, "/bees": 1, "/birds": 1, "/trees": 1}
    assert len(came.stories) == 3
    for seen in came.stories:
        assert seen.overlay is not None
        assert seen.overlay.analysis_state is AnalysisState.STUB
        assert seen.overlay.brief_one_liner
        assert all(highlight.score for highlight in seen.highlights)
    assert {job.row_state for job in came.jobs} == {RowState.COMPLETED}
    assert {job.name for job in came.jobs} == {
        *("ingest-source", "fetch-content", "analyze-story", "generate-brief", "extract-highlights"),
        "score-relevance",
    }
    assert came.spent == []


@pytest.mark.nightly
async def test_page_with_a_lost_analysis_is_analysed_on_the_next_request(settings: Settings) -> None:
    async with Site() as site:
        first = await ingest([site.url("/trees")], settings, allow_private=True)
        with psycopg.connect(settings.require_database()) as connection:
            connection.execute("delete from zeke.story_overlays")
            connection.execute("delete from pgboss.job where name = 'analyze-story'")
        again = await ingest([site.url("/trees")], settings, allow_private=True)
    assert [seen.story.id for seen in again.stories] == [seen.story.id for seen in first.stories]
    assert [seen.overlay is not None and seen.overlay.brief_one_liner for seen in again.stories] == [
        seen.overlay is not None and seen.overlay.brief_one_liner for seen in first.stories
    ]


@pytest.mark.nightly
async def test_story_without_an_analysis_is_reported(settings: Settings) -> None:
    async with Site() as site:
        await ingest([site.url("/trees")], settings, allow_private=True)
        with psycopg.connect(settings.require_database()) as connection:
            connection.execute("delete from zeke.story_overlays")
        site.answers["/copy"] = site.answers["/trees"]
        came = await ingest([site.url("/copy")], settings, allow_private=True)
    assert {job.status for job in came.jobs} == {JobStatus.COMPLETED}
    assert not came.is_complete
    assert "its story has no analysis" in (came.outcomes[0].error or "")


@pytest.mark.nightly
async def test_repeated_ingest_reports_nothing_new_and_shows_the_article_again(settings: Settings) -> None:
    async with Site() as site:
        await _ingest(settings, site.url("/feed"), site.url("/trees"))
        outcomes, found = await _ingest(settings, site.url("/feed"), site.url("/trees"))
    assert [(one.items, one.error) for one in outcomes] == [(0, None), (1, None)]
    assert _titles(found) == {"Trees"}


@pytest.mark.nightly
async def test_moved_feed_is_one_source_under_its_old_url(settings: Settings) -> None:
    async with Site() as site:
        site.answers["/old"] = Answer(status=301, headers=(("Location", "/feed"),))
        first, _ = await _ingest(settings, site.url("/old"))
        hits = dict(site.server.hits)
        again, found = await _ingest(settings, site.url("/old"), site.url("/old#top"))
        assert _sources(settings) == [site.url("/feed")]
    assert [(one.what, one.items, one.error) for one in (*first, *again)] == [
        ("feed", 2, None),
        ("feed", 0, None),
        ("feed", 0, None),
    ]
    assert found == []
    assert hits == {"/old": 1, "/feed": 1, "/bees": 1, "/birds": 1}


@pytest.mark.nightly
async def test_known_feed_that_moved_stays_one_source(settings: Settings) -> None:
    async with Site() as site:
        site.answers["/old"] = site.answers["/feed"]
        await _ingest(settings, site.url("/old"))
        site.answers["/old"] = Answer(status=301, headers=(("Location", "/feed"),))
        again, _ = await _ingest(settings, site.url("/old"))
        assert _sources(settings) == [site.url("/feed")]
    assert (again[0].items, again[0].error) == (0, None)


def _sources(settings: Settings) -> list[str]:
    with psycopg.connect(settings.require_database()) as connection:
        return [url for (url,) in connection.execute("select url from zeke.sources order by url").fetchall()]


@pytest.mark.nightly
async def test_failed_url_is_reported_and_stops_no_other(settings: Settings) -> None:
    async with Site() as site:
        site.answers["/busy"] = Answer(status=503)
        site.answers["/empty"] = Answer()
        site.answers["/broken"] = Answer(body=b"<html>", content_type="application/rss+xml")
        paths = ("/missing", "/busy", "/empty", "/broken", "/trees")
        outcomes, found = await _ingest(settings, "trees", "file:///etc/passwd", *map(site.url, paths))
    errors = [one.error or "" for one in outcomes]
    words = ["https://", "file:", "404", "503", "no text", "feed"]
    assert [word in error for word, error in zip(words, errors, strict=False)] == [True] * 6, errors
    assert errors[-1] == ""
    assert _titles(found) == {"Trees"}


@pytest.mark.nightly
async def test_too_long_url_is_refused_before_fetching_and_stops_no_other(settings: Settings) -> None:
    async with Site() as site:
        endless = site.url("/" + "x" * 2048)
        outcomes, found = await _ingest(settings, endless, site.url("/trees"))
        hits = site.server.hits
    assert "2048 at most" in (outcomes[0].error or "")
    assert (outcomes[0].what, outcomes[1].error) == (None, None)
    assert _titles(found) == {"Trees"}
    assert list(hits) == ["/trees"]


@pytest.mark.nightly
async def test_abandoned_pages_are_retried_on_request(settings: Settings) -> None:
    async with Site() as site:
        there = dict(site.answers)
        site.answers |= {"/trees": Answer(), "/bees": Answer(status=404)}
        (page, listed), _ = await _ingest(settings, site.url("/trees"), site.url("/feed"))
        site.answers = there
        (page_again, again), found = await _ingest(settings, site.url("/trees"), site.url("/feed"))
    assert page.error
    assert page_again.error is None
    assert (listed.items, listed.stories) == (2, 1)
    assert (again.items, again.stories, again.error) == (1, 1, None)
    assert _titles(found) == {"Trees", "Bees"}


@pytest.mark.nightly
async def test_local_failure_is_reported_and_everything_is_read_after_its_repair(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # It loads, and lacks something when it is used.
    late = "def bare_extraction(*_, **__):\n    import no_lxml_html_clean"
    (tmp_path / "trafilatura.py").write_text(late, encoding="utf-8")
    async with Site() as site:
        with monkeypatch.context() as broken:
            # For the reader processes: this one has it already.
            broken.syspath_prepend(tmp_path)
            # Its retries take longer than the command waits here.
            broken.setattr(fetch_content, "layer", replace(fetch_content.layer, retry_limit=0))
            first, found = await _ingest(settings, site.url("/feed"))
        assert {finding.item.status for finding in found} == {ItemStatus.PENDING}
        again, found = await _ingest(settings, site.url("/feed"))
    assert "no_lxml_html_clean" in (first[0].error or "")
    assert (again[0].items, again[0].stories, again[0].error) == (2, 2, None)
    assert _titles(found) == {"Bees", "Birds"}


@pytest.mark.nightly
async def test_unreadable_page_is_reported_for_its_url_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ParserPool.__call__

    async def killed(readers: ParserPool, function: Callable[..., object], *args: object) -> object:
        if any(str(getattr(argument, "url", "")).endswith("/trees") for argument in args):
            raise ParserKilled("killed, for want of memory")
        return await call(readers, function, *args)

    monkeypatch.setattr(ParserPool, "__call__", killed)
    async with Site() as site:
        outcomes, found = await _ingest(settings, site.url("/trees"), site.url("/feed"))
    assert [outcome.error for outcome in outcomes] == ["killed, for want of memory", None]
    assert _titles(found) == {"Bees", "Birds"}


@pytest.mark.nightly
async def test_unread_pages_are_reported_with_their_web_errors(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its retries take longer than the command waits here.
    monkeypatch.setattr(fetch_content, "layer", replace(fetch_content.layer, retry_limit=0))
    async with Site() as site:
        site.answers["/bees"] = Answer(status=500)
        outcomes, found = await _ingest(settings, site.url("/feed"))
    error = outcomes[0].error or ""
    assert error.startswith("not all of it was read: 1 of 2 items are left to try again; the first: http://")
    assert "500" in error
    assert _titles(found) == {"Birds"}


@pytest.mark.nightly
async def test_timeout_is_reported(settings: Settings) -> None:
    async with Site() as site:
        listing = feed(("Bees", site.url("/bees")), ("Late", site.url("/late")))
        site.answers["/feed"] = Answer(body=listing.encode())
        site.answers["/late"] = Answer(status=503, headers=(("Retry-After", "600"),))
        outcomes, found = await _ingest(settings, site.url("/feed"), timeout=300)
    assert (outcomes[0].items, outcomes[0].stories, outcomes[0].error) == (2, 1, None)
    (late,) = [finding for finding in found if finding.story is None]
    assert late.outcome.startswith("not yet: ")
    assert "503" in late.outcome


async def test_without_allow_private_this_machine_is_not_fetched(settings: Settings) -> None:
    async with Site() as site:
        outcomes = (await ingest([site.url("/feed")], settings, timeout=60)).outcomes
        assert site.server.hits == {}
    assert "127.0.0.1" in (outcomes[0].error or "")
    assert "--allow-private" in (outcomes[0].error or "")


async def test_metadata_service_of_a_cloud_is_said_to_be_refused_always(settings: Settings) -> None:
    (outcome,) = (await ingest(["http://169.254.169.254/latest"], settings, timeout=60)).outcomes
    assert (outcome.error or "").endswith("which no setting allows")


@pytest.mark.nightly
async def test_only_the_servers_on_this_machine_that_were_named_are_fetched(settings: Settings) -> None:
    async with Site() as site, Site() as secret:
        listing = feed(("Bees", site.url("/bees")), ("Secret", secret.url("/birds")))
        site.answers["/feed"] = Answer(body=listing.encode())
        outcomes, found = await _ingest(settings, site.url("/feed"))
        assert secret.server.hits == {}
    assert (outcomes[0].items, outcomes[0].stories) == (2, 1)
    (refused,) = [finding for finding in found if finding.story is None]
    assert "loopback" in refused.outcome


@pytest.mark.nightly
async def test_named_local_server_allows_no_other_local_server(settings: Settings) -> None:
    async with Site() as site, Site() as secret:
        site.answers["/moved"] = Answer(status=302, headers=(("Location", "/bees"),))
        site.answers["/away"] = Answer(status=302, headers=(("Location", secret.url("/birds")),))
        outcomes, _ = await _ingest(settings, site.url("/moved"), site.url("/away"))
        assert secret.server.hits == {}
        assert secret.url("/birds") in (outcomes[1].error or "")
    assert [one.stories for one in outcomes] == [1, 0]
    assert outcomes[0].error is None
    assert "loopback" in (outcomes[1].error or "")
    assert "--allow-private" not in (outcomes[1].error or "")


def test_limits_that_take_long_are_said_beforehand() -> None:
    pages = [f"https://a.example/{n}" for n in range(181)] + [f"http://b.example/{n}" for n in range(9)]
    own = [f"http://wiki.internal/{n}" for n in range(99)] + [f"http://127.0.0.1:8000/{n}" for n in range(99)]
    options = WebOptions(allow=("wiki.internal",))
    (hint,) = limits_of_pages([*pages, *own], options, ["http://127.0.0.1:8000/feed"])
    assert hint.startswith("a.example: 181 pages")
    assert "181 s" in hint
    assert limit_of_ai(100, 300) is None
    assert "60 s: they need 543 requests" in (limit_of_ai(181, 300) or "")


def test_feed_is_recognised_by_its_body() -> None:
    url = "https://a.example/"
    assert feed_of(fetched(url, feed(("One", url)), content_type="text/plain")) is not None
    assert feed_of(fetched(url, page("A", "bees"), content_type="application/xhtml+xml")) is None
    assert feed_of(fetched(url, "", content_type="")) is None
    with pytest.raises(FeedError):
        feed_of(fetched(url, page("A", "bees"), content_type="application/atom+xml"))


# The command


@pytest.fixture(autouse=True)
def logging(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """How the command sets up logs; it is kept from taking over those of the process that tests it."""
    configure = Mock()
    monkeypatch.setattr("zeke_queue.system.logging.configure_logging", configure)
    return configure


def _zeke(dsn: str | None, *arguments: str, as_json: bool = False) -> tuple[int, str, BaseException | None]:
    root = typer.Typer(pretty_exceptions_enable=False)

    @root.callback()
    def options(context: typer.Context) -> None:
        context.obj = Options(database=dsn, json=as_json)

    root.command("ingest")(ingest_command)
    result = CliRunner().invoke(root, ["ingest", *arguments])
    return result.exit_code, result.stdout, result.exception


def test_failed_url_is_shown_once_with_its_reason_and_ends_with_code_1(
    settings: Settings, logging: Mock
) -> None:
    refused = (settings.require_database(), "--timeout", "5", "http://127.0.0.1/feed")
    code, out, _ = _zeke(*refused)
    assert code == 1
    assert out.count("http://127.0.0.1/feed") == 1
    assert "leads to 127.0.0.1" in out
    # A table without rows is omitted.
    assert "Stories (0)" not in out
    # A job that fails permanently is an error; the tables show the reason.
    assert LEVELS[logging.call_args.kwargs["level"]] > LEVELS["error"]
    code, out, _ = _zeke(*refused, as_json=True)
    assert code == 1
    told = json.loads(out)
    assert told["items"] == []
    assert "127.0.0.1" in told["urls"][0]["error"]


@each("notaurl", "gopher://a.example/", f"https://a.example/{'x' * 2048}")
def test_invalid_url_is_usage_error(wrong: str) -> None:
    _, _, error = _zeke(None, "https://a.example/feed", wrong, "ftp://b.example/")
    assert isinstance(error, UsageError)
    assert f"{wrong[:80]}" in str(error)
    assert "ftp://b.example/" in str(error)
    assert "a.example/feed" not in str(error)


def test_missing_tables_are_said_before_anything_is_fetched(empty_dsn: str) -> None:
    code, _, error = _zeke(empty_dsn, "https://a.example/feed")
    assert code == 1
    assert "zeke migrate" in str(error)


def test_incomplete_installation_is_reported_before_fetching(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(WebClient, "fetch", Mock(side_effect=AssertionError("fetched")))
    (tmp_path / "trafilatura.py").write_text("raise ImportError('no lxml_html_clean')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, error = _zeke(settings.require_database(), "https://a.example/feed")
    assert code == 1
    assert "no lxml_html_clean" in str(error)
    assert '".[tasks,embedded]" in a clone' in str(error)


def test_url_is_required() -> None:
    assert _zeke(None)[0] == 2


# Servers on this machine that a user named


NAMED = ("http://127.0.0.1:8080/feed", "http://localhost/a", "https://blog.example/feed", "no URL")


async def _who_is_asked(url: str, refused: str | None = None) -> str:
    """Return which web client fetches a URL; the public one refuses the given URL."""
    web, local = ScriptedWeb(), ScriptedWeb()
    web.put(
        url, AddressRefused(refused, "127.0.0.1", "loopback") if refused else fetched(url, page("W", "w"))
    )
    local.put(url, fetched(url, page("L", "l")))
    got = await NamedServers(web, local, NAMED).fetch(url, kind="page")
    return "local" if b"<title>L" in got.body else "web"


@each(
    ("http://127.0.0.1:8080/other?page=2", "local"),
    ("http://LOCALHOST:80/", "local"),
    ("http://127.0.0.1:8081/feed", "web"),
    ("http://127.0.0.1/feed", "web"),
    ("https://127.0.0.1:8080/feed", "web"),
    ("http://localhost:8080/feed", "web"),
    ("http://127.0.0.2:8080/feed", "web"),
    ("https://news.example/feed", "web"),
    # It is on the internet, and is shown what all servers there are.
    ("https://blog.example/feed", "web"),
)
async def test_only_named_local_servers_are_fetched_locally(url: str, asked: str) -> None:
    assert await _who_is_asked(url) == asked


async def test_named_host_that_resolves_to_loopback_is_fetched() -> None:
    assert await _who_is_asked("https://blog.example/a", "https://blog.example/a") == "local"


@each(
    ("https://news.example/a", "https://news.example/a"),
    ("https://blog.example/a", "http://127.0.0.1:9000/admin"),
    ("https://news.example/a", "http://127.0.0.1:8080/feed"),
    ("http://127.0.0.1:9000/admin", "http://127.0.0.1:9000/admin"),
)
async def test_redirect_to_unnamed_local_server_is_refused(url: str, refused: str) -> None:
    with pytest.raises(AddressRefused):
        await _who_is_asked(url, refused)


async def test_invalid_url_is_refused() -> None:
    web = ScriptedWeb()
    web.put("no URL", UrlRefused("no URL", "must be an absolute URL"))
    with pytest.raises(UrlRefused):
        await NamedServers(web, ScriptedWeb(), NAMED).fetch("no URL", kind="page")
