"""The data on the page of a video."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from tests.cases import check_each
from tests.tasks.youtube.pages import watch_page
from zeke_tasks.testing.youtube import channel_feed, video
from zeke_tasks.youtube import Video, parse_channel_feed, parse_watch_page, video_text, watch_url

BEES = video(1, published_at=datetime(2026, 3, 1, 12, tzinfo=UTC))


def test_page_of_a_video_is_read() -> None:
    assert parse_watch_page(watch_page(BEES).encode(), "utf-8", BEES.id) == BEES


def test_video_text_is_the_same_from_page_and_feed() -> None:
    away = datetime(2026, 3, 1, 22, tzinfo=timezone(timedelta(hours=-8)))
    odd = replace(BEES, title='Bees & "<b>birds</b>"  €', description=" One;\n\ntwo };\n", published_at=away)
    page = parse_watch_page(watch_page(odd).encode(), None, odd.id)
    (listed,) = parse_channel_feed(channel_feed("The Bees", [odd]), "", "https://a.example/").videos
    assert video_text(page, None) == video_text(listed, None)
    assert "Published: 2026-03-02" in video_text(page, None)


def test_page_without_the_video_is_empty() -> None:
    def check(page: str) -> None:
        assert parse_watch_page(page.encode(), None, BEES.id) == Video(BEES.id, "", watch_url(BEES.id))

    start = "<script>var ytInitialPlayerResponse = "
    cases = {
        "empty": "",
        "consent": "<html><title>Before you continue to YouTube</title>",
        "another video": watch_page(video(2, published_at=datetime(2026, 3, 1, tzinfo=UTC))),
        "broken": f"{start}{{broken",
        "other types": f'{start}{{"videoDetails": [], "microformat": 5}}',
        "deep list": f"{start}{'[' * 100_000}",
        "deep object": f'{start}{{"a": {"[" * 100_000}',
    }
    check_each(cases, check)


def test_title_is_one_line() -> None:
    page = watch_page(replace(BEES, title="Bees\nand\u2028 honey", channel="The\r\nBees"))
    told = parse_watch_page(page.encode(), None, BEES.id)
    assert (told.title, told.channel) == ("Bees and honey", "The Bees")


def test_length_out_of_range_is_none() -> None:
    def check(seconds: int, kept: int | None) -> None:
        page = watch_page(replace(BEES, duration_seconds=seconds))
        assert parse_watch_page(page.encode(), None, BEES.id).duration_seconds == kept

    check_each([(2**31 - 1, 2**31 - 1), (2**31, None), (0, None)], check)


def test_page_is_read_in_the_charset_of_its_server() -> None:
    def check(charset: str) -> None:
        page = watch_page(replace(BEES, title="TITLE")).replace("TITLE", "Пчёлы и мёд")
        assert parse_watch_page(page.encode(charset), charset, BEES.id).title == "Пчёлы и мёд"

    check_each(["utf-16-le", "windows-1251", "utf-8"], check)


def test_values_of_another_type_are_ignored() -> None:
    page = watch_page(BEES).replace(f'"{BEES.view_count}"', "5").replace(f'"{BEES.channel}"', "[1]")
    told = parse_watch_page(page.encode(), None, BEES.id)
    assert (told.title, told.view_count, told.channel) == (BEES.title, None, None)
