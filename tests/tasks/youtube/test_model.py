"""Captions as text and as WebVTT; URLs of videos; and the text that a story of a video is made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_tasks.youtube import Captions, Cue, Video, video_id_of, video_text, watch_url

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


def test_id_of_a_video_url() -> None:
    def check(url: str) -> None:
        assert video_id_of(url) == ID

    urls = [
        f"https://www.youtube.com/watch?v={ID}",
        f"http://youtube.com/watch?app=desktop&v={ID}&t=3#x",
        f"https://m.youtube.com/shorts/{ID}",
        f"https://www.youtube.com/live/{ID}?feature=share",
        f"https://www.youtube.com/embed/{ID}/",
        f"https://youtu.be/{ID}?si=abc",
        f"https://music.youtube.com/watch?v={ID}",
        f"https://music.youtube.com/shorts/{ID}",
        f"https://m.youtube.com/live/{ID}",
        f"https://www.youtube.com/watch/?v={ID}",
        f"https://www.youtube.com/watch?v={ID}?t=3",
        f"https://www.youtu.be/{ID}/",
        f"https://www.youtube-nocookie.com/embed/{ID}?rel=0",
        f"https://youtube-nocookie.com/embed/{ID}",
    ]
    check_each(urls, check)


def test_other_urls_have_no_video() -> None:
    def check(url: str) -> None:
        assert video_id_of(url) is None

    urls = [
        "https://www.youtube.com/watch",
        "https://www.youtube.com/watch?v=short",
        "https://www.youtube.com/@bees",
        f"https://www.youtube.com/playlist?v={ID}",
        f"https://youtube.com.evil.example/watch?v={ID}",
        f"https://evil.example/watch?v={ID}",
        "https://youtu.be/",
        f"https://m.youtu.be/{ID}",
        f"https://evil-youtube-nocookie.com/embed/{ID}",
        f"https://www.youtube.com/watch/{ID}",
        f"https://www.youtube.com/watch?v=x{ID}",
        f"https://www.youtube.com/shorts/{ID}x",
        "no url",
        "",
    ]
    check_each(urls, check)


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
