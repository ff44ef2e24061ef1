"""Some of feedparser's own test files, and what compares them with our reader.

All of them are compared by ``python -m tests.tasks.web.feedparser_corpus``; these are those whose cases
matter most, and some that ours reads otherwise, for a reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import check_each
from tests.tasks.web.feedparser_corpus import ORIGIN, Verdict, examine, files, main, report

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


def _examined(folder: Path, expected: str, feed: str, name: str = "wellformed/rss/a.xml") -> Verdict:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<!--\nDescription: a\nExpect: {expected}\n-->\n{feed}", encoding="utf-8")
    return examine(path, name).verdict


ITEM = (
    "<rss version='2.0'><channel><title>Feed</title><link>/home</link><item>"
    "<title>A &lt;b&gt;b&lt;/b&gt;</title><link>one</link><guid>g</guid>"
    "<description>&lt;p&gt;d&lt;/p&gt;</description><author>Ann</author>"
    "<pubDate>Mon, 05 Jan 2026 12:00:00 GMT</pubDate></item></channel></rss>"
)


# What a file may expect of `ITEM`.
RIGHT = [
    "not bozo",
    "1",
    "version == 'rss20'",
    "len(entries) == 1",
    "feed['title'] == 'Feed'",
    f"feed.link == '{ORIGIN.replace('/tests/', '/home')}'",
    "entries[0]['title'] == 'A <b>b</b>'",
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
BESIDE = [
    "not bozo and entries[0]['tags'][0]['term'] == 'x'",
    "feed['cloud']['port'] == '80'",
    "not bozo and entries[0].get('where') == {}",
    "entries[0]['abcdefg'] == entries[1]['abcdefg'] == 'x'",
]


def test_each_part_of_an_expectation_is_compared(tmp_path: Path) -> None:
    def check(expected: str, verdict: Verdict) -> None:
        assert _examined(tmp_path, expected, ITEM) is verdict

    cases = [
        *((expected, Verdict.AGREES) for expected in RIGHT),
        *((expected, Verdict.DISAGREES) for expected in WRONG),
        *((expected, Verdict.BESIDE) for expected in BESIDE),
    ]
    check_each(cases, check)


def test_entry_of_one_field_is_given_a_title(tmp_path: Path) -> None:
    lone = ITEM.partition("<item>")[0] + "<item><author>Ann</author></item></channel></rss>"
    for name, verdict in (("Ann", Verdict.PADDED), ("Bob", Verdict.DISAGREES)):
        assert _examined(tmp_path, f"entries[0]['author_detail']['name'] == '{name}'", lone) is verdict


def test_other_documents_disagree_with_an_expected_feed(tmp_path: Path) -> None:
    assert _examined(tmp_path, "feed['title'] == 'x'", "<x/>") is Verdict.DISAGREES
    assert _examined(tmp_path, "bozo", "<x/>") is Verdict.AGREES


def test_unknown_encoding_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<!--\nSkipUnless: __import__('codecs').lookup('viscii')\n-->" + ITEM, encoding="utf-8")
    assert examine(path, "encoding/a.xml").verdict is Verdict.SKIPPED


def test_report_counts_verdicts_and_reasons() -> None:
    text = report([examine(path, name) for name, path in FILES.items()], whole=True)
    assert f"{len(FILES)} files" in text
    assert f"{len(OTHERWISE)} disagrees" in text
    assert "no known reason" not in text
    assert all(f"\n{name}: " in text for name in OTHERWISE)


def test_command_fails_for_an_unknown_disagreement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["feedparser_corpus", str(tmp_path)])
    assert _examined(tmp_path / "tests", "feed['title'] == 'Feed'", ITEM) is Verdict.AGREES
    assert main() == 0
    assert _examined(tmp_path / "tests", "feed['title'] == 'x'", ITEM, "illformed/b.xml") is Verdict.DISAGREES
    assert main() == 1
    assert "1 for no known reason about feed's title" in capsys.readouterr().out
