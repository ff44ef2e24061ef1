"""Plain text of HTML fragments: words stay apart, and lines are those that a reader sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeke_tasks.web.fragments import flat_text, lined_text


@pytest.mark.parametrize(
    ("fragment", "lines"),
    [
        ("<p>One.</p><p>Two.</p>", ["One.", "Two."]),
        ("One<br>two<BR/>three", ["One", "two", "three"]),
        ("<ul><li>a</li><li>b</li></ul>", ["a", "b"]),
        ("<dl><dt>a</dt><dd>b</dd></dl>", ["a", "b"]),
        ("<h2>Title</h2>text", ["Title", "text"]),
        ("<div>a</div>b", ["a", "b"]),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>", ["a b", "c"]),
        (
            "a line\n that is\twrapped <b>in the</b>\nsource<p>next",
            ["a line that is wrapped in the source", "next"],
        ),
        ("<pre>def f():\n    return 1</pre>after\nit", ["def f():", "return 1", "after it"]),
        ("so<b>me</b>thing", ["something"]),
        ("<p>R&amp;D &lt;b&gt;</p>", ["R&D <b>"]),
        ("a\x00b", ["ab"]),
        ("", []),
        (" <p> </p> ", []),
    ],
)
def test_a_fragment_has_the_lines_that_a_reader_sees(fragment: str, lines: list[str]) -> None:
    assert lined_text(fragment).splitlines() == lines
    assert flat_text(fragment) == " ".join(lines)


@pytest.mark.parametrize("tag", ["<pre>", "</pre", "<p ", "<pre><p>", "&#x", "<!--"])
def test_a_hostile_fragment_takes_no_more_time_than_its_length_allows(tag: str) -> None:
    fragment = "words " + tag * 300_000
    assert lined_text(fragment).startswith("words")


@given(st.text())
def test_any_text_is_a_fragment(fragment: str) -> None:
    assert flat_text(fragment).count("\n") == 0
    assert all(
        line.strip() == line != "" for line in lined_text(fragment).split("\n") if lined_text(fragment)
    )
