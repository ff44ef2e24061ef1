"""Texts are split into sentences, cut between them or between words, and have a reading time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from zeke_tasks.text_rules import ELLIPSIS, WORDS_PER_MINUTE, reading_seconds, sentences, shorten, title_of

prose = st.text(
    st.sampled_from("abc XY.!?…,;\"')]}»”\n\r\t 。！日本é1-–" + "\u2028\u00a0\U0001f600"),  # noqa: RUF001
    max_size=300,
) | st.text(max_size=300)


def unspaced(text: str) -> str:
    return "".join(text.replace("\0", "").split())


@each(
    ("One. Two! Three?", ["One.", "Two!", "Three?"]),
    ("One.\nTwo\n\nThree", ["One.", "Two", "Three"]),
    ("Title \nText.", ["Title", "Text."]),
    ("It is 3.5 times as fast. Really.", ["It is 3.5 times as fast.", "Really."]),
    ("It cost, e.g. in March, more.", ["It cost, e.g. in March, more."]),
    ("Dr. Who met Mr. J. R. Smith vs. Bob.", ["Dr. Who met Mr. J. R. Smith vs. Bob."]),
    ("In the U.S. Congress met.", ["In the U.S. Congress met."]),
    ("Is it? I said no. Then yes.", ["Is it?", "I said no.", "Then yes."]),
    ("He said “Go.” She went.", ["He said “Go.”", "She went."]),
    ("(This one.) That one.", ["(This one.)", "That one."]),
    ("Wait... What? Oh… Well.", ["Wait...", "What?", "Oh…", "Well."]),
    ("See zeke.md for more. Done.", ["See zeke.md for more.", "Done."]),
    ("蜂が踊る。花が咲く。", ["蜂が踊る。", "花が咲く。"]),
    ("", []),
    (" \n ", []),
    ("No end", ["No end"]),
)
def test_text_is_split_into_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(prose)
def test_sentences_are_single_lines_that_lose_no_letter(text: str) -> None:
    found = sentences(text)
    assert all(found)
    printable = "".join(one for one in text if one.isspace() or one.isprintable())
    if printable == text:
        assert unspaced("".join(found)) == unspaced(text)
    for sentence in found:
        assert len(sentence.splitlines()) == 1
        assert sentences(sentence) == [sentence]


@given(prose, st.integers(1, 80))
def test_shortened_text_fits_and_is_a_prefix(text: str, limit: int) -> None:
    cut = shorten(text, limit)
    assert len(cut) <= limit
    if len(text.strip()) <= limit:
        assert cut == text.strip()
    else:
        assert text.strip().startswith(cut.removesuffix(ELLIPSIS))
        assert cut.endswith(ELLIPSIS) or cut in text
    assert shorten(cut, limit) == cut


@each(
    ("Bees dance. They do so to tell where flowers are.", 20, "Bees dance."),
    ("Yes. They do so to tell where flowers are.", 20, "Yes. They do so to…"),
    ("They dance, – to tell where flowers are", 15, "They dance…"),
    ("Well, Dr. Bee said so", 12, "Well, Dr.…"),
    ("https://a.example/a/very/long/path", 10, "https://a…"),
    ("See https://a.example/a/very/long/path", 12, "See https:/…"),
    ("One thing.\nAnother thing of note", 20, "One thing."),
)
def test_text_is_cut_at_sentence_or_word(text: str, limit: int, expected: str) -> None:
    assert shorten(text, limit) == expected


def test_reading_time_counts_words_or_characters_without_blanks() -> None:
    assert reading_seconds("word " * WORDS_PER_MINUTE) == pytest.approx(60)
    assert reading_seconds("") == 0
    assert reading_seconds("蜂が踊る") == reading_seconds("four words of English")


@given(prose, prose)
def test_reading_times_of_parts_add_up(one: str, other: str) -> None:
    assert reading_seconds(f"{one}\n{other}") == pytest.approx(reading_seconds(one) + reading_seconds(other))


@pytest.mark.nightly
@each(".", ". ", "a.", "?!", '."', "…\n", "\n", " ", "。", "a", "A. ")
def test_hostile_text_is_read_in_linear_time(unit: str) -> None:
    # Time is no measure on a busy machine: this has to end, which in quadratic time it would not.
    text = unit * (400_000 // len(unit)) + "x"
    assert sum(map(len, sentences(text))) <= len(text)
    assert len(shorten(text, 100)) <= 100


@each(
    ("How bees find home\n\nThey remember.", "How bees find home"),
    ("\n  How bees find home \r\n \r\nThey remember.", "How bees find home"),
    ("Bees\n====\nThey remember.", "Bees"),
    ("Bees\n---\nThey remember.", "Bees"),
    ("Bees\n--\nThey remember.", None),
    ("# Bees #\nThey remember.", "Bees"),
    ("Bees are lost!\n\nThey are not.", "Bees are lost!"),
    ("Bees: a guide\n\nThey remember.", "Bees: a guide"),
    ("1. Of bees\n\nThey remember.", "1. Of bees"),
    ("-v and other options\n\nThey are few.", "-v and other options"),
    ("Of https://a.example/\n\nIt is a site.", "Of https://a.example/"),
    ("Of bees (and birds)\n\nThey remember.", "Of bees (and birds)"),
    ("And then…\n\nThey remember.", None),
    ("蜂が踊る。\n\n花が咲く。", None),
    ("「蜂が踊る。」\n\n花が咲く。", None),
    ("He said: “They remember.”\n\nThey do.", None),
    ('"They remember."\n\nThey do.', None),
    ("(They remember.)\n\nThey do.", None),
    ("- bees\n\n- birds", None),
    ("• bees\n\n• birds", None),
    ("* bees\n\nand birds", None),
    ("> Bees remember\n\nSo they said.", None),
    ("| bees | birds |\n\nThey remember.", None),
    ("From: bees@a.example\n\nWe are lost.", None),
    ("Subject: Bees\n\nWe are lost.", None),
    ("X-Mailer: Bees 1\n\nWe are lost.", None),
    ("#!/bin/sh\n\necho bees", None),
    ("<?xml version='1'?>\n\n<bees/>", None),
    ("```python\n\nbees()\n```", None),
    ("https://a.example/bees\n\nThey remember.", None),
    ("<https://a.example/bees>\n\nThey remember.", None),
    ("www.a.example/bees\n\nThey remember.", None),
    ("Are they lost?\n\nThey are not.", "Are they lost?"),
    ("They remember.\n\nThey do.", None),
    ("Dear bees,\n\nyou are lost.", None),
    ("They remember\nlandmarks.", None),
    ("Bees", None),
    ("Bees\n\n", None),
    ("", None),
    (f"{'Bees ' * 30}\n\nThey remember.", None),
    ("###\n\nBees", None),
    ("---\n\nBees", None),
)
def test_title_is_short_separate_first_line(text: str, title: str | None) -> None:
    assert title_of(text) == title
