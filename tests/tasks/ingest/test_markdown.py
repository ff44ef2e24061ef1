"""Markdown as plain text."""

from __future__ import annotations

import re
from itertools import product

from tests.cases import check_each
from zeke_tasks.ingest.markdown import read_markdown
from zeke_tasks.insights.rules import find_highlights
from zeke_tasks.store.highlights import HighlightKind

NOTES = """---
title: "Of queues"
tags: [a, b]
---
Queues & tables
===============

A queue can live
in a table that a team **runs _already_**; see
[the docs](https://a.example/x) for `claim()` and ![a plan](plan.svg).<br>

- [x] One thing
- Another

  with more

1. First

> Quoted \\*words\\*

| verb  | means |
|-------|-------|
| claim | take  |

<div>Some <b>markup</b></div>

***

```python
def claim():
    return "**it**"
```
"""

PLAIN = """Queues & tables
A queue can live in a table that a team runs already; see the docs for claim() and a plan.
[x] One thing
Another
with more
First
Quoted *words*
| verb | means |
| claim | take |
Some markup
```
def claim():
    return "**it**"
```"""


def test_text_is_kept_without_its_markup() -> None:
    assert read_markdown(NOTES) == ("Of queues", PLAIN)


def test_title_is_first_heading() -> None:
    def check(text: str, title: str | None) -> None:
        assert read_markdown(text)[0] == title

    cases = [
        ("Some words.\n\n## Of *bees* ##\n\n# Another\n", "Of bees"),
        ("# \n\n## Bees\n", "Bees"),
        ("---\n\n# Bees\n", "Bees"),
        ("---\ntags: a\n---\n# Bees\n", "Bees"),
        ("Some words.", None),
        ("```\n# a comment\n```\n", None),
        ("", None),
    ]
    check_each(cases, check)


def test_code_blocks_are_recognised() -> None:
    prose = "A queue can live in a table of the database that a team runs already. " * 4
    found = find_highlights(read_markdown(f"{prose}\n\n    x = claim()\n")[1])
    assert [(one.kind, one.quote) for one in found] == [(HighlightKind.CODE_EXAMPLE, "x = claim()")]


def test_words_are_neither_lost_nor_joined() -> None:
    def check(text: str, plain: str) -> None:
        assert read_markdown(text)[1] == plain

    cases = [
        ("one<br>two", "one two"),
        ("one<BR/>two", "one two"),
        ("so<b>me</b>", "some"),
        ("| a |\n|---|\n| one<br />two |", "| a |\n| one two |"),
        ("![a *b*<br>c](x.png)", "a b c"),
        ("It is ~~gone~~ here.", "It is gone here."),
        ("Bees[^1] fly.\n\n[^1]: https://a.example/", "Bees[^1] fly.\n[^1]: https://a.example/"),
        ("[Bees][1] fly.\n\n[1]: https://a.example/", "Bees fly."),
        ("a <script>x()</script>b<STYLE>c{}</STYLE>d", "a bd"),
        ("<style>\na { color: red }\n\nb {}\n</style>\n\nText", "Text"),
        ("<div><script>x()</script>one</div>", "one"),
        ("Say <script> and more.\n\n<script>\nx()", "Say and more.\nx()"),
        ("one\r\ntwo\r\n\r\nthree", "one two\nthree"),
    ]
    check_each(cases, check)


def test_words_of_deep_list_are_kept() -> None:
    def check(depth: int) -> None:
        text = "".join(f"{'  ' * level}- word{level}\n" for level in range(depth))
        said = read_markdown(f"{text}\nAfter it.")[1]
        assert re.findall(r"word\d+|After it\.", said) == [
            *(f"word{level}" for level in range(depth)),
            "After it.",
        ]

    check_each([10, 60, 500], check)


def test_text_after_a_deep_list_is_read_as_markdown() -> None:
    deep = "\n\n".join(f"{'  ' * level}- word{level}" for level in range(30))
    said = read_markdown(f"{deep}\n\n{'  ' * 30}more\n\n  # Less\n\n## After")[1].splitlines()
    assert said[:2] == ["word0", "word1"]
    assert said[-3:] == ["more", "Less", "After"]


def test_words_of_deep_quotation_are_kept() -> None:
    for quotes in (30, 5000):
        assert "word" in read_markdown(f"{'>' * quotes} word")[1]


def test_title_is_read_from_front_matter() -> None:
    def check(front: str, title: str, end: str, newline: str) -> None:
        text = f"---\n{front}\n{end}\n# Heading\n".replace("\n", newline)
        assert read_markdown(text) == (title, "Heading")

    titles = [
        ("title: Of bees", "Of bees"),
        ("tags: a\ntitle: Of bees  ", "Of bees"),
        ("title: Of bees # a comment", "Of bees"),
        ("title: C# for bees", "C# for bees"),
        ('title: "Of bees" # a comment', "Of bees"),
        ("title: 'A bee''s way'", "A bee's way"),
        (r'title: "Of \"bees\" \u00e9"', 'Of "bees" é'),
        ('title: "Of bees', '"Of bees'),
        ('title: "Of" bees', '"Of" bees'),
        ("title: >-\n  Of bees\n  and birds\ntags: a", "Of bees and birds"),
        ("title: |2\n  Of bees\n", "Of bees"),
        ("title: Of bees\n  and birds\ntags: a", "Of bees and birds"),
        ("title:\n  Of bees", "Of bees"),
        ("title: ''", "Heading"),
        ("title: # a comment", "Heading"),
        ("title: >-\ntags: a", "Heading"),
        ("title:", "Heading"),
        ("title: [a, b]", "[a, b]"),
        ("subtitle: Of bees", "Heading"),
        ("more:\n  title: Of bees", "Heading"),
    ]
    ends = product(["---", "...", "---  "], ["\n", "\r\n"])
    check_each([(*title, *end) for title, end in product(titles, ends)], check)


def test_text_between_dashes_is_kept() -> None:
    def check(text: str) -> None:
        assert "Bees" in read_markdown(text)[1]

    cases = ["---\n\nBees\n\n---\n", "---\nBees fly\n\n---\n", "---\n- Bees\n---\n", "Bees\n\n---\na: b\n"]
    check_each(cases, check)


# Time is no measure on a busy machine: these have to end, which in quadratic time they would not.


def test_hostile_front_matter_is_read_in_linear_time() -> None:
    def check(unit: str, start: str) -> None:
        text = f"---\n{start}{unit * (2_000_000 // len(unit))}x\n---\nEnd"
        assert read_markdown(text)[1] == "End"

    check_each(product([" ", '"', "'", "\\", " #", "\n ", "a: b\n", "--- "], ["title: ", 'title: "']), check)


def test_hostile_document_is_read_in_linear_time() -> None:
    def check(unit: str) -> None:
        assert "End" in read_markdown(f"{unit * (100_000 // len(unit))}x\n---\nEnd")[1]

    cases = [" ", "#", "a: b\n", "---\n", "<script>", "</script", "<br", "[", "*", "~~", "- ", ">", "`", "|"]
    check_each(cases, check)
