"""Some of feedparser's own test files, and what compares them with our reader.

All of them are compared by ``python -m tests.tasks.web.feedparser_corpus``; these are those whose cases
matter most, and some that ours reads otherwise, for a reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import check_each
from tests.tasks.web.feedparser_corpus import Verdict, examine, files, main

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
