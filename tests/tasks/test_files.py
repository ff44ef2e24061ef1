"""What a user's files hold, why one can't be read, and Markdown as plain text."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from itertools import product

import pytest

from tests.cases import check_each, each
from tests.tasks.pdfs import pdf
from zeke_queue.errors import UsageError
from zeke_queue.task.task import PAYLOAD_CAP
from zeke_tasks.fetch import content_hash
from zeke_tasks.ingest.files import chunks, read_file
from zeke_tasks.ingest.markdown import read_markdown
from zeke_tasks.insights.rules import find_highlights
from zeke_tasks.payloads import IngestFromUpload, UploadedItem
from zeke_tasks.store.highlights import HighlightKind
from zeke_tasks.testing.web import page

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NOTES = "Some remarks first.\n\n# Queues in tables #\n\nA queue in a table is enough for most teams.\n"
ITEMS = [
    {"externalId": "1", "title": "Bees", "text": "Bees make honey.", "metadata": {"a": 1}},
    {"externalId": "2", "url": "https://a.example/birds"},
]


@each(
    ("bees.txt", b"How bees find home\n\nThey remember landmarks.", "How bees find home", "They remember"),
    ("bees.txt", b"They remember\nlandmarks.", "bees", "They remember"),
    *(
        (f"notes.{ending}", NOTES.encode(), "Queues in tables", "enough for most teams")
        for ending in ("md", "MD", "markdown", "mdown", "mkd")
    ),
    ("notes.txt", "Käse.".encode("utf-16"), "notes", "Käse."),
    ("notes", "Käse.".encode("cp1252"), "notes", "Käse."),
    ("bees.html", page("Bees", "bees").encode(), "Bees", "bees"),
    ("bees", page("Bees", "bees").encode(), "Bees", "bees"),
    ("paper.pdf", pdf(["Birds sing."]), "paper", "Birds sing."),
    ("paper", pdf(["Birds sing."], info={"Title": "Of birds"}), "Of birds", "Birds sing."),
)
def test_document_becomes_one_item(name: str, body: bytes, title: str, words: str) -> None:
    (item,) = read_file(name, body, NOW)
    assert item.title == title
    assert words in (item.text or "")
    # Whatever its file is called, it is the same item.
    assert item.external_id == read_file(f"other-{name}", body, NOW)[0].external_id


def test_document_is_identified_by_its_source_text() -> None:
    # Of which Markdown's marks are a part: to take more of them as such makes no new item of an old file.
    written = "Bees make **honey**.\n"
    (plain,) = read_file("bees.txt", written.encode(), NOW)
    (marked,) = read_file("bees.md", written.encode(), NOW)
    assert marked.external_id == plain.external_id == content_hash(written)
    assert marked.text == "Bees make honey."


@each(
    ("items.json", json.dumps(ITEMS)),
    ("items.json", json.dumps({"items": ITEMS})),
    ("items.jsonl", "\n\n".join(map(json.dumps, ITEMS))),
    ("ITEMS.NDJSON", "\n".join(map(json.dumps, ITEMS))),
)
def test_json_files_become_items(name: str, text: str) -> None:
    assert read_file(name, text.encode(), NOW) == [UploadedItem.model_validate(item) for item in ITEMS]


@each(
    ("a.json", b"{", "a.json: must be JSON"),
    ("a.json", b"[" * 100_000, "a.json: must be JSON"),
    ("a.json", b"[]", "has no items"),
    ("a.json", b'[{"externalId": "1"}, 7]', "item 2: the item: "),
    ("a.jsonl", b'{"externalId": "1"}\n\n{"text": "b"}', "line 3: externalId: "),
    ("a.jsonl", b'{"externalId": "1"}\n{', "line 2: must be JSON"),
    ("a.txt", b" \n", "a.txt is empty. N"),
    ("a.md", b"", "a.md is empty. N"),
    ("a.pdf", b"", "a.pdf is empty. N"),
    ("a.md", b"---\ntitle: Bees\n---\n", "has no text: it consists of markup, or of lines for machines"),
    ("a.mkd", b"***\n", "has no text: it consists of markup"),
    ("a.pdf", pdf([""]), "has no text; it may be a scan"),
    ("a", pdf([""]), "has no text; it may be a scan"),
    ("a.txt", bytes(range(256)) * 8, "must be text, Markdown"),
    ("a.html", b"<html><body></body></html>", "a.html has no text. N"),
    ("a.pdf", b"%PDF-1.7 broken", "a.pdf: "),
)
def test_unreadable_file_is_refused_with_place(name: str, body: bytes, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_file(name, body, NOW)
    assert words in str(refused.value)
    assert "Nothing was uploaded" in str(refused.value)


def _item(number: int, text: str) -> UploadedItem:
    return UploadedItem(external_id=str(number), text=text)


def test_items_are_split_by_size_of_payload() -> None:
    items = [_item(number, "é" * 100_000) for number in range(12)]
    parts = chunks(items, ["a.json"] * 12)
    assert [item for part in parts for item in part] == items
    assert len(parts) == 3
    for part in parts:
        payload = IngestFromUpload(source_id="00000000-0000-0000-0000-000000000001", items=part)  # type: ignore[arg-type]
        assert len(payload.model_dump_json(by_alias=True).encode()) <= PAYLOAD_CAP


def test_too_large_item_is_refused_with_its_file() -> None:
    with pytest.raises(UsageError, match=r"b\.txt.*too large"):
        chunks([_item(1, "a"), _item(2, "a" * PAYLOAD_CAP)], ["a.txt", "b.txt"])


# Markdown


MARKED = """---
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
    assert read_markdown(MARKED) == ("Of queues", PLAIN)


@each(
    ("Some words.\n\n## Of *bees* ##\n\n# Another\n", "Of bees"),
    ("# \n\n## Bees\n", "Bees"),
    ("---\n\n# Bees\n", "Bees"),
    ("---\ntags: a\n---\n# Bees\n", "Bees"),
    ("Some words.", None),
    ("```\n# a comment\n```\n", None),
    ("", None),
)
def test_title_is_first_heading(text: str, title: str | None) -> None:
    assert read_markdown(text)[0] == title


def test_code_blocks_are_recognised() -> None:
    prose = "A queue can live in a table of the database that a team runs already. " * 4
    found = find_highlights(read_markdown(f"{prose}\n\n    x = claim()\n")[1])
    assert [(one.kind, one.quote) for one in found] == [(HighlightKind.CODE_EXAMPLE, "x = claim()")]


@each(
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
)
def test_words_are_neither_lost_nor_joined(text: str, plain: str) -> None:
    assert read_markdown(text)[1] == plain


@each(10, 60, 500)
def test_words_of_deep_list_are_kept(depth: int) -> None:
    text = "".join(f"{'  ' * level}- word{level}\n" for level in range(depth))
    said = read_markdown(f"{text}\nAfter it.")[1]
    assert re.findall(r"word\d+|After it\.", said) == [
        *(f"word{level}" for level in range(depth)),
        "After it.",
    ]


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


@each("---\n\nBees\n\n---\n", "---\nBees fly\n\n---\n", "---\n- Bees\n---\n", "Bees\n\n---\na: b\n")
def test_text_between_dashes_is_kept(text: str) -> None:
    assert "Bees" in read_markdown(text)[1]


# Time is no measure on a busy machine: these have to end, which in quadratic time they would not.


@pytest.mark.nightly
def test_hostile_front_matter_is_read_in_linear_time() -> None:
    def check(unit: str, start: str) -> None:
        text = f"---\n{start}{unit * (2_000_000 // len(unit))}x\n---\nEnd"
        assert read_markdown(text)[1] == "End"

    check_each(product([" ", '"', "'", "\\", " #", "\n ", "a: b\n", "--- "], ["title: ", 'title: "']), check)


@pytest.mark.nightly
@each(" ", "#", "a: b\n", "---\n", "<script>", "</script", "<br", "[", "*", "~~", "- ", ">", "`", "|")
def test_hostile_document_is_read_in_linear_time(unit: str) -> None:
    assert "End" in read_markdown(f"{unit * (100_000 // len(unit))}x\n---\nEnd")[1]
