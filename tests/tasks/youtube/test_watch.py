"""What the page of a video tells of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.tasks.youtube.pages import watch_page
from zeke_sim.doubles.youtube import channel_feed, video
from zeke_tasks.youtube import Video, parse_channel_feed, parse_watch_page, video_text, watch_url

BEES = video(1, published_at=datetime(2026, 3, 1, 12, tzinfo=UTC))


def test_a_page_tells_of_its_video() -> None:
    assert parse_watch_page(watch_page(BEES).encode(), "utf-8", BEES.id) == BEES


def test_a_video_has_one_text_wherever_it_was_found() -> None:
    away = datetime(2026, 3, 1, 22, tzinfo=timezone(timedelta(hours=-8)))
    odd = replace(BEES, title='Bees & "<b>birds</b>"  €', description=" One;\n\ntwo };\n", published_at=away)
    page = parse_watch_page(watch_page(odd).encode(), None, odd.id)
    (listed,) = parse_channel_feed(channel_feed("The Bees", [odd]), "", "https://a.example/").videos
    assert video_text(page, None) == video_text(listed, None)
    assert "Published: 2026-03-02" in video_text(page, None)


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<html><title>Before you continue to YouTube</title>",
        watch_page(video(2, published_at=datetime(2026, 3, 1, tzinfo=UTC))),
        "<script>var ytInitialPlayerResponse = {broken",
        '<script>var ytInitialPlayerResponse = {"videoDetails": [], "microformat": 5}',
        f"<script>var ytInitialPlayerResponse = {'[' * 100_000}",
        f'<script>var ytInitialPlayerResponse = {{"a": {"[" * 100_000}',
    ],
)
def test_a_page_that_says_nothing_of_the_video_is_no_error(page: str) -> None:
    assert parse_watch_page(page.encode(), None, BEES.id) == Video(BEES.id, "", watch_url(BEES.id))


def test_a_title_is_one_line() -> None:
    page = watch_page(replace(BEES, title="Bees\nand\u2028 honey", channel="The\r\nBees"))
    told = parse_watch_page(page.encode(), None, BEES.id)
    assert (told.title, told.channel) == ("Bees and honey", "The Bees")


@pytest.mark.parametrize(("seconds", "kept"), [(2**31 - 1, 2**31 - 1), (2**31, None), (0, None)])
def test_a_length_that_can_t_be_kept_is_none(seconds: int, kept: int | None) -> None:
    page = watch_page(replace(BEES, duration_seconds=seconds))
    assert parse_watch_page(page.encode(), None, BEES.id).duration_seconds == kept


@pytest.mark.parametrize("charset", ["utf-16-le", "windows-1251", "utf-8"])
def test_a_page_is_read_in_the_charset_that_its_server_claims(charset: str) -> None:
    page = watch_page(replace(BEES, title="TITLE")).replace("TITLE", "Пчёлы и мёд")
    assert parse_watch_page(page.encode(charset), charset, BEES.id).title == "Пчёлы и мёд"


def test_values_of_another_type_are_left_out() -> None:
    page = watch_page(BEES).replace(f'"{BEES.view_count}"', "5").replace(f'"{BEES.channel}"', "[1]")
    told = parse_watch_page(page.encode(), None, BEES.id)
    assert (told.title, told.view_count, told.channel) == (BEES.title, None, None)
