"""The parsers: when they are imported, and whether an error is the document's or this machine's."""

from __future__ import annotations

import errno
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import feedparser
import pytest
import trafilatura

from tests.cases import check_each
from zeke_tasks.context import open_context
from zeke_tasks.fetch import FeedError, PageError, extract_article, parse_feed

URL = "https://a.example/"

OF_THIS_MACHINE = [
    ImportError("no lxml_html_clean"),
    MemoryError(),
    FileNotFoundError(errno.ENOENT, "No such file", "stoplist"),
    AttributeError("module 'x' has no attribute 'y'", name="y", obj=sys),
]
OF_THE_DOCUMENT = [
    AttributeError("'NoneType' object has no attribute 'text'", name="text", obj=None),
    RecursionError(),
    OSError(errno.EOVERFLOW, "Value too large for defined data type"),
]


def _read_page() -> object:
    return extract_article(b"<html><body><p>Bees</p></body></html>", URL)


def _read_feed() -> object:
    return parse_feed(b"<rss version='2.0'><channel><title>A</title></channel></rss>", "", URL)


Reader = tuple[Callable[[], object], type[Exception]]
READERS: list[Reader] = [(_read_page, PageError), (_read_feed, FeedError)]


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(trafilatura, "bare_extraction", fail)
    monkeypatch.setattr(feedparser, "parse", fail)


def test_errors_of_this_machine_are_raised_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(reader: Reader, error: Exception) -> None:
        _break(monkeypatch, error)
        with pytest.raises(type(error)) as raised:
            reader[0]()
        assert raised.value is error

    check_each(itertools.product(READERS, OF_THIS_MACHINE), check)


def test_other_errors_are_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(reader: Reader, error: Exception) -> None:
        _break(monkeypatch, error)
        with pytest.raises(reader[1], match=type(error).__name__):
            reader[0]()

    check_each(itertools.product(READERS, OF_THE_DOCUMENT), check)


async def test_worker_without_a_parser_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trafilatura.py").write_text("import no_lxml_html_clean", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no_lxml_html_clean"):
        async with open_context():
            pass


def test_parsers_are_imported_lazily() -> None:
    parsers = {"feedparser", "lxml", "pypdfium2", "trafilatura"}
    script = f"import sys, zeke_tasks.stories.read; print(*{parsers} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
