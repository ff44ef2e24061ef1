"""Captions, URLs of videos, the text that a story of a video is made of, and the data on its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, each
from tests.tasks.youtube.pages import watch_page
from zeke_tasks.testing.youtube import channel_feed, video
from zeke_tasks.youtube import (
    Captions,
    Cue,
    Video,
    parse_channel_feed,
    parse_watch_page,
    video_id_of,
    video_text,
    watch_url,
)

ID = "dQw4w9WgXcQ"
VIDEO = Video(
    id=ID,
    title="On  Bees",
    url=watch_url(ID),
    description="About bees.\r\n\n  And honey: https://a.example/ \x00",
    channel="The Bees",
    published_at=datetime(2026, 3, 4, 23, 30, tzinfo=UTC),
    duration_seconds=61,
    view_count=5,
)


def captions(*cues: tuple[float, float, str]) -> Captions:
    return Captions("en", generated=False, cues=tuple(Cue(*cue) for cue in cues))


def test_pause_begins_a_paragraph() -> None:
    said = captions(
        (0, 2, "Bees make"), (1.5, 2, "honey.\nAll summer"), (3.5, 1, "long."), (8, 1, "In winter")
    )
    assert said.text == "Bees make honey. All summer long.\nIn winter"


def test_long_paragraph_ends_with_a_sentence() -> None:
    said = captions(*((number, 1, "This is a sentence of thirty.") for number in range(45)))
    assert [len(paragraph) for paragraph in said.text.split("\n")] == [599 + 30] * 2 + [3 * 30 - 1]


def test_endless_sentence_is_divided() -> None:
    said = captions(*((number, 1, "words without end and") for number in range(200)))
    assert all(1500 <= len(paragraph) < 1530 for paragraph in said.text.split("\n")[:-1])
    assert said.text.split() == ["words", "without", "end", "and"] * 200


def test_empty_captions() -> None:
    assert captions().text == captions((0, 1, " \n ")).text == ""
    assert captions((0, 1, " \n ")).vtt == "WEBVTT\nKind: captions\nLanguage: en\n"


def test_captions_as_webvtt() -> None:
    said = captions(
        (0.5, 1.25, "Bees & <i>wasps</i>"), (3599.9996, 0, "one\n\n-->\ntwo"), (100 * 3600, 1, "end")
    )
    assert said.vtt == (
        "WEBVTT\nKind: captions\nLanguage: en\n\n"
        "00:00:00.500 --> 00:00:01.750\nBees &amp; &lt;i&gt;wasps&lt;/i&gt;\n\n"
        "01:00:00.000 --> 01:00:00.001\none\n--&gt;\ntwo\n\n"
        "100:00:00.000 --> 100:00:01.000\nend\n"
    )


SPOKEN = st.text(st.characters(exclude_categories=["Cc", "Cn", "Cs"]) | st.just("\n"), max_size=20)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e4), SPOKEN), max_size=6))
def test_every_cue_is_one_webvtt_block(cues: list[tuple[float, float, str]]) -> None:
    said = captions(*sorted(cues))
    head, *blocks = said.vtt.removesuffix("\n").split("\n\n")
    assert head.startswith("WEBVTT\n")
    assert len(blocks) == sum(1 for cue in said.cues if cue.text.split())
    assert all(block.split("\n")[0].count(" --> ") == 1 for block in blocks)
    assert not any("-->" in line for block in blocks for line in block.split("\n")[1:])
    words = " ".join(" ".join(cue.text.split()) for cue in said.cues).split()
    assert said.text.split() == words


@each(
    (f"https://www.youtube.com/watch?v={ID}", ID),
    (f"http://youtube.com/watch?app=desktop&v={ID}&t=3#x", ID),
    (f"https://m.youtube.com/shorts/{ID}", ID),
    (f"https://www.youtube.com/live/{ID}?feature=share", ID),
    (f"https://www.youtube.com/embed/{ID}/", ID),
    (f"https://youtu.be/{ID}?si=abc", ID),
    (f"https://music.youtube.com/watch?v={ID}", ID),
    (f"https://music.youtube.com/shorts/{ID}", ID),
    (f"https://m.youtube.com/live/{ID}", ID),
    (f"https://www.youtube.com/watch/?v={ID}", ID),
    (f"https://www.youtube.com/watch?v={ID}?t=3", ID),
    (f"https://www.youtu.be/{ID}/", ID),
    (f"https://www.youtube-nocookie.com/embed/{ID}?rel=0", ID),
    (f"https://youtube-nocookie.com/embed/{ID}", ID),
    ("https://www.youtube.com/watch", None),
    ("https://www.youtube.com/watch?v=short", None),
    ("https://www.youtube.com/@bees", None),
    (f"https://www.youtube.com/playlist?v={ID}", None),
    (f"https://youtube.com.evil.example/watch?v={ID}", None),
    (f"https://evil.example/watch?v={ID}", None),
    ("https://youtu.be/", None),
    (f"https://m.youtu.be/{ID}", None),
    (f"https://evil-youtube-nocookie.com/embed/{ID}", None),
    (f"https://www.youtube.com/watch/{ID}", None),
    (f"https://www.youtube.com/watch?v=x{ID}", None),
    (f"https://www.youtube.com/shorts/{ID}x", None),
    ("no url", None),
    ("", None),
)
def test_id_of_a_video_url(url: str, found: str | None) -> None:
    assert video_id_of(url) == found


def test_video_text_has_three_sections() -> None:
    text = video_text(VIDEO, captions((0, 1, "Bees hum."), (9, 1, "And \x07more.")))
    assert text == (
        "VIDEO INFORMATION\nTitle: On Bees\nChannel: The Bees\nPublished: 2026-03-04\n"
        f"URL: https://www.youtube.com/watch?v={ID}\n\n"
        "CAPTION\nAbout bees.\nAnd honey: https://a.example/\n\n"
        "TRANSCRIPT\nBees hum.\nAnd more."
    )


def test_empty_sections_are_left_out() -> None:
    text = video_text(Video(id=ID, title="Bees", url=watch_url(ID)), None)
    assert text == f"VIDEO INFORMATION\nTitle: Bees\nURL: https://www.youtube.com/watch?v={ID}"


def test_video_text_does_not_depend_on_counts() -> None:
    found = replace(VIDEO, duration_seconds=None, view_count=7)
    assert video_text(found, captions()) == video_text(VIDEO, captions())


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


@each((2**31 - 1, 2**31 - 1), (2**31, None), (0, None))
def test_length_out_of_range_is_none(seconds: int, kept: int | None) -> None:
    page = watch_page(replace(BEES, duration_seconds=seconds))
    assert parse_watch_page(page.encode(), None, BEES.id).duration_seconds == kept


@each("utf-16-le", "windows-1251", "utf-8")
def test_page_is_read_in_the_charset_of_its_server(charset: str) -> None:
    page = watch_page(replace(BEES, title="TITLE")).replace("TITLE", "Пчёлы и мёд")
    assert parse_watch_page(page.encode(charset), charset, BEES.id).title == "Пчёлы и мёд"


def test_values_of_another_type_are_ignored() -> None:
    page = watch_page(BEES).replace(f'"{BEES.view_count}"', "5").replace(f'"{BEES.channel}"', "[1]")
    told = parse_watch_page(page.encode(), None, BEES.id)
    assert (told.title, told.view_count, told.channel) == (BEES.title, None, None)
