"""The errors of the parsers are told apart: the document's, or this machine's."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import feedparser
import pytest
import trafilatura

from zeke_tasks.context import open_context
from zeke_tasks.web import FeedError, PageError, extract_article, parse_feed

if TYPE_CHECKING:
    from collections.abc import Callable

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


READERS = [pytest.param(_read_page, PageError, id="page"), pytest.param(_read_feed, FeedError, id="feed")]


def _break(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(trafilatura, "bare_extraction", fail)
    monkeypatch.setattr(feedparser, "parse", fail)


@pytest.mark.parametrize(("read", "ours"), READERS)
@pytest.mark.parametrize("error", OF_THIS_MACHINE, ids=lambda error: type(error).__name__)
def test_a_fault_of_this_machine_is_raised_as_it_is(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], ours: type[Exception], error: Exception
) -> None:
    _break(monkeypatch, error)
    with pytest.raises(type(error)) as raised:
        read()
    assert raised.value is error


@pytest.mark.parametrize(("read", "ours"), READERS)
@pytest.mark.parametrize("error", OF_THE_DOCUMENT, ids=lambda error: type(error).__name__)
def test_all_other_errors_are_the_documents(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], ours: type[Exception], error: Exception
) -> None:
    _break(monkeypatch, error)
    with pytest.raises(ours, match=type(error).__name__):
        read()


async def test_a_worker_without_a_parser_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trafilatura.py").write_text("import no_lxml_html_clean", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="no_lxml_html_clean"):
        async with open_context():
            pass
