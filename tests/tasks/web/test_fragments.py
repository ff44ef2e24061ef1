"""Plain text of HTML fragments: words stay apart, and lines are those that a reader sees."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_tasks.fetch.fragments import flat_text, lined_text


def test_fragment_has_the_lines_that_a_reader_sees() -> None:
    def check(fragment: str, *lines: str) -> None:
        assert lined_text(fragment).splitlines() == list(lines)
        assert flat_text(fragment) == " ".join(lines)

    cases = [
        ("<p>One.</p><p>Two.</p>", "One.", "Two."),
        ("One<br>two<BR/>three", "One", "two", "three"),
        ("<ul><li>a</li><li>b</li></ul>", "a", "b"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "a", "b"),
        ("<dl><dt>a<dt>b<dd>c<dd>d</dl>", "a", "b", "c", "d"),
        ("<h2>Title</h2>text", "Title", "text"),
        ("<div>a</div>b", "a", "b"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>", "a b", "c"),
        (
            "a line\n that is\twrapped <b>in the</b>\nsource<p>next",
            "a line that is wrapped in the source",
            "next",
        ),
        ("<pre>def f():\n    return 1</pre>after\nit", "def f():", "return 1", "after it"),
        ("so<b>me</b>thing", "something"),
        ("<p>R&amp;D &lt;b&gt;</p>", "R&D <b>"),
        ("a\x00b", "ab"),
        ("",),
        (" <p> </p> ",),
    ]
    check_each(cases, check)


def test_hostile_fragment_takes_linear_time() -> None:
    def check(tag: str) -> None:
        assert lined_text("words " + tag * 100_000).startswith("words")

    check_each(["<pre>", "</pre", "<p ", "<pre><p>", "&#x", "<!--"], check)


@given(st.text())
def test_any_text_is_a_fragment(fragment: str) -> None:
    assert "\n" not in flat_text(fragment)
    lined = lined_text(fragment)
    assert all(line.strip() == line != "" for line in lined.split("\n") if lined)
