"""Some of feedparser's own test files, and what compares them with our reader.

All of them are compared by ``python -m tests.tasks.web.feedparser_corpus``; these are those whose cases
matter most, and some that ours reads otherwise, for a reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import check_each
from tests.tasks.web.feedparser_corpus import ORIGIN, Verdict, examine, files, main

KEPT = Path(__file__).parent / "feedparser"
FILES = {name: path for path, name in files(KEPT)}
REFUSED = {"wellformed/rss/entity_in_doctype.xml", "wellformed/rdf/doctype_contains_entity_decl.xml"}
OTHERWISE = {
    "encoding/bozo_linenoise.xml",
    "illformed/chardet/koi8r.xml",
    "wellformed/rss/item_description_and_summary.xml",
    "wellformed/rss/item_description_not_a_doctype.xml",
}


def test_files_are_read_as_feedparser_says() -> None:
    def check(path: Path, name: str) -> None:
        outcome = examine(path, name)
        if name in REFUSED:
            assert outcome.verdict is Verdict.REFUSED
        elif name in OTHERWISE:
            assert outcome.verdict is Verdict.DISAGREES
            assert outcome.reason
        else:
            assert outcome.verdict in {Verdict.AGREES, Verdict.PADDED}, outcome

    check_each({name: (path, name) for name, path in FILES.items()}, check)


RSS = (
    "<rss version='2.0'><channel><title>Feed</title><link>/home</link><item>"
    "<title>A &lt;b&gt;b&lt;/b&gt;</title><link>one</link><guid>g</guid>"
    "<description>&lt;p&gt;d&lt;/p&gt;</description><author>Ann</author>"
    "<pubDate>Mon, 05 Jan 2026 12:00:00 GMT</pubDate></item></channel></rss>"
)
RIGHT = [
    "not bozo",
    "version == 'rss20'",
    "len(entries) == 1",
    f"feed.link == '{ORIGIN.replace('/tests/', '/home')}'",
    "entries[0]['title_detail']['value'] == 'A ' + '<b>b</b>'",
    "entries[0]['description'] == '<p>d</p>'",
    "entries[0].link == 'one'",
    "entries[0]['id'] == 'g'",
    "entries[0]['published_parsed'] == (2026, 1, 5, 12, 0, 0, 0, 5, 0)",
    "entries[0]['author_detail']['name'] == 'Ann'",
    "encoding == 'utf-8'",
]
WRONG = [
    "bozo",
    "version == 'atom10'",
    "len(entries) == 2",
    "not entries",
    "feed['title'] == 'feed'",
    "feed.link == '/other'",
    "entries[0]['title'] == 'A'",
    "entries[0]['description'] == '<p>d</p>d'",
    "entries[0]['description'] == 'd <b>'",
    "entries[0].link == 'two'",
    "entries[0]['guid'] == 'G'",
    "entries[0]['updated_parsed'] == (2026, 1, 5, 12, 0, 1, 0, 5, 0)",
    "entries[0]['author_detail']['name'] == 'Bob'",
    "entries[1]['title'] == 'B'",
    "encoding == 'utf-16'",
    "entries[0]['title'] == 'A b' and entries[0]['id'] == 'h'",
]
BESIDE = ["not bozo and entries[0]['tags'][0]['term'] == 'x'", "feed['cloud']['port'] == '80'"]


def test_each_part_of_an_expectation_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"

    def check(head: str, feed: str, verdict: Verdict) -> None:
        path.write_text(f"<!--\n{head}\n-->\n{feed}", encoding="utf-8")
        assert examine(path, "wellformed/rss/a.xml").verdict is verdict

    verdicts = {Verdict.AGREES: RIGHT, Verdict.DISAGREES: WRONG, Verdict.BESIDE: BESIDE}
    expect = "Description: a\nExpect: {}".format
    lone = "<rss version='2.0'><channel><title>Feed</title><item><author>Ann</author></item></channel></rss>"
    cases = [
        *((expect(claim), RSS, verdict) for verdict, claims in verdicts.items() for claim in claims),
        (expect("entries[0]['author_detail']['name'] == 'Ann'"), lone, Verdict.PADDED),
        (expect("entries[0]['author_detail']['name'] == 'Bob'"), lone, Verdict.DISAGREES),
        (expect("bozo"), "<x/>", Verdict.AGREES),
        (expect("feed['title'] == 'x'"), "<x/>", Verdict.DISAGREES),
        ("SkipUnless: __import__('codecs').lookup('viscii')", RSS, Verdict.SKIPPED),
    ]
    check_each(cases, check)


def test_command_fails_for_an_unknown_disagreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def expect(name: str, title: str) -> None:
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True)
        head = f"<!--\nDescription: a\nExpect: feed['title'] == '{title}'\n-->\n"
        path.write_text(
            f"{head}<rss version='2.0'><channel><title>Feed</title></channel></rss>", encoding="utf-8"
        )

    monkeypatch.setattr("sys.argv", ["feedparser_corpus", str(tmp_path)])
    expect("wellformed/a.xml", "Feed")
    assert main() == 0
    expect("illformed/b.xml", "x")
    assert main() == 1
    assert "1 for no known reason about feed's title" in capsys.readouterr().out
