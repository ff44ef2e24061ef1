"""Markdown as plain text."""

from __future__ import annotations

import pytest

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


def test_what_it_says_stays_and_its_marks_go() -> None:
    assert read_markdown(NOTES) == ("Of queues", PLAIN)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Some words.\n\n## Of *bees* ##\n\n# Another\n", "Of bees"),
        ("# \n\n## Bees\n", "Bees"),
        ("---\n\n# Bees\n", "Bees"),
        ("---\ntags: a\n---\n# Bees\n", "Bees"),
        ("Some words.", None),
        ("```\n# a comment\n```\n", None),
        ("", None),
    ],
)
def test_the_title_is_the_first_heading(text: str, title: str | None) -> None:
    assert read_markdown(text)[0] == title


def test_code_is_still_known_as_such() -> None:
    prose = "A queue can live in a table of the database that a team runs already. " * 4
    found = find_highlights(read_markdown(f"{prose}\n\n    x = claim()\n")[1])
    assert [(one.kind, one.quote) for one in found] == [(HighlightKind.CODE_EXAMPLE, "x = claim()")]
