"""feedparser's own test files, read by our reader: how many agree, and what the others disagree about.

::

    pip download --no-binary :all: --no-deps feedparser==6.0.14 && tar xzf feedparser-6.0.14.tar.gz
    python -m tests.tasks.web.feedparser_corpus feedparser-6.0.14 [--all]

Each file has a comment with feedparser's expected result: ``not bozo and entries[0]['title'] == 'x'``.
Each part of it that our reader supports is compared with the reader's result. A file that expects
only unsupported parts, such as tags or textinput elements, is not compared.

Many files have an entry of a single field, such as a date. One without link, title and text says nothing to a
reader, and ours leaves it out; such a file is read again with a title in each entry. The exit code is 1 if a
file disagrees for no reason that is known.
"""

from __future__ import annotations

import argparse
import ast
import calendar
import codecs
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin

from zeke_tasks.fetch import Entry, Feed, FeedError, parse_feed
from zeke_tasks.fetch.text import charset_of, decode

ORIGIN = "http://127.0.0.1:8097/tests/"
"""The base URL of the files; some expect links that begin with it. It is not requested."""

EXPECT = re.compile(r"Description:\s*.*?\s*Expect:\s*(.*?)\s*-->")
HEADER = re.compile(rb"^Header:\s+([^:]+):(.+)$", re.MULTILINE)
SKIP = re.compile(r"SkipUnless:\s*__import__\('codecs'\)\.lookup\('([^']+)'\)")
ENTRY = re.compile(rb"(<(?:\w+:)?(?:entry|item)(?: [^<>]*)?(?<!/)>)")
EBCDIC = "<?xml".encode("cp500")
FOLDERS = ("wellformed", "illformed", "encoding", "entities")

REASONS = (
    ("wellformed/cdf/*", "*", "CDF, a format of 1997, is not read"),
    ("illformed/chardet/*", "*", "an unnamed encoding is not guessed: it is UTF-8, else Windows-1252"),
    ("encoding/*", "damage", "a false claim is no damage where the bytes tell the encoding"),
    ("encoding/bozo_linenoise.xml", "text", "a broken byte does not make a UTF-8 document Windows-1252"),
    ("encoding/x80_*", "a feed at all", "EBCDIC, in which no feed is known, is not read"),
    ("wellformed/*content_location*", "*", "Content-Location is no base of links (RFC 9110)"),
    ("*", "identity", "an identity is kept as it is written, so that it stays when the feed moves"),
    ("wellformed/sanitize/entry_title_on*", "title", "a title is text, so a picture is none"),
    ("wellformed/rss/item_description_not_a_doctype.xml", "text", "relative links are made absolute"),
    ("wellformed/rss/item_description_and_summary.xml", "text", "of an entry's texts the longest is given"),
)
"""Reasons for differences, by the file's name and the differing part; the first match applies."""


class Verdict(StrEnum):
    AGREES = "agrees"
    PADDED = "agrees, once its entries have a title"
    REFUSED = "refused, for it declares entities"
    DISAGREES = "disagrees"
    BESIDE = "about what our reader does not give"
    SKIPPED = "in an encoding that this Python does not know"


class Claim(NamedTuple):
    """One part of a file's expectation: its path, and its value."""

    path: tuple[str | int, ...]
    value: Any

    def __str__(self) -> str:
        first, *rest = self.path
        return str(first) + "".join(f"[{step!r}]" for step in rest) + f" == {self.value!r}"


class Compared(NamedTuple):
    """A claim beside what we give: under the name of which field, whether we agree, and what that is."""

    field: str
    agrees: bool
    got: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a file, with the first part that differs."""

    name: str
    verdict: Verdict
    field: str = ""
    claim: Claim | None = None
    got: Any = None

    @property
    def reason(self) -> str | None:
        for names, fields, reason in REASONS:
            if fnmatchcase(self.name, names) and fnmatchcase(self.field, fields):
                return reason
        return None


class Document(NamedTuple):
    """A file as we read it."""

    body: bytes
    decoded: str
    url: str
    feed: Feed | FeedError


def examine(path: Path, name: str) -> Outcome:
    body = path.read_bytes()
    text = _plain(body)
    if (needed := SKIP.search(text)) and not _is_known(needed.group(1)):
        return Outcome(name, Verdict.SKIPPED)
    expected = EXPECT.search(text)
    claims = list(_claims(ast.parse(expected.group(1), mode="eval").body)) if expected else []
    document = _read(body, name)
    if isinstance(document.feed, FeedError) and "declares entities" in document.feed.reason:
        return Outcome(name, Verdict.REFUSED)
    outcome = _judge(name, claims, document)
    if outcome.field != "entries":
        return outcome
    padded = _judge(name, claims, _read(ENTRY.sub(rb"\1<title>x</title>", body), name))
    return Outcome(name, Verdict.PADDED) if padded.verdict is Verdict.AGREES else padded


def _read(body: bytes, name: str) -> Document:
    headers = {key.decode().lower(): value.decode().strip() for key, value in HEADER.findall(body)}
    content_type, url = headers.get("content-type", ""), urljoin(ORIGIN, name)
    try:
        feed: Feed | FeedError = parse_feed(body, content_type, url)
    except FeedError as error:
        feed = error
    return Document(body, decode(body, charset_of(content_type)), url, feed)


def _judge(name: str, claims: list[Claim], document: Document) -> Outcome:
    """Compare all claims; the first that disagrees counts, that a document is sound last."""
    compared = [(claim, _compare(claim, document)) for claim in claims]
    known = [(claim, found) for claim, found in compared if found is not None]
    known.sort(key=lambda one: one[1].field == "damage")
    for claim, found in known:
        if not found.agrees:
            return Outcome(name, Verdict.DISAGREES, found.field, claim, found.got)
    fields = {found.field for _, found in known}
    beside = not fields or (fields == {"damage"} and len(known) < len(compared))
    return Outcome(name, Verdict.BESIDE if beside else Verdict.AGREES)


def _is_known(encoding: str) -> bool:
    try:
        codecs.lookup(encoding)
    except LookupError:
        return False
    return True


def _plain(body: bytes) -> str:
    """Return the text of a file as needed to find its expectation.

    In UTF-16 and -32 every other byte is 0.
    """
    if body.startswith(EBCDIC):
        return body.decode("cp500")
    return body.replace(b"\0", b"").decode("utf-8", "replace")


def _claims(node: ast.expr) -> Iterator[Claim]:
    """Yield the parts of an expectation; one that does not compare a value has the path ``?``."""
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            for value in values:
                yield from _claims(value)
        case ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=name)):
            yield Claim((name,), value=False)
        case ast.Name(id=name):
            yield Claim((name,), value=True)
        case ast.Constant(value=1):
            yield Claim(("read",), value=True)
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            try:
                yield Claim(_path(left), _literal(right))
            except ValueError:
                yield Claim(("?",), ast.unparse(node))
        case _:
            yield Claim(("?",), ast.unparse(node))


def _path(node: ast.expr) -> tuple[str | int, ...]:
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Subscript(value=value, slice=ast.Constant(value=str() | int() as step)):
            return (*_path(value), step)
        case ast.Attribute(value=value, attr=name):
            return (*_path(value), name)
        case ast.Call(func=ast.Name(id="len"), args=[ast.Name(id="entries")]):
            return ("len(entries)",)
        case _:
            raise ValueError(ast.unparse(node))


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _literal(node.left) + _literal(node.right)
    return ast.literal_eval(node)


def _compare(claim: Claim, document: Document) -> Compared | None:
    """Return what we give beside what a claim expects; None if our reader does not give such a thing."""
    feed, value = document.feed, claim.value
    if claim.path == ("bozo",):
        damage = feed.reason if isinstance(feed, FeedError) else feed.damage
        return Compared("damage", (damage is not None) == value, damage)
    if claim.path == ("encoding",):
        return _encoding(value, document)
    if isinstance(feed, FeedError):
        known = claim.path[0] in {"entries", "feed", "read", "version"}
        return Compared("a feed at all", value in ({}, "", 0, False), feed.reason) if known else None
    if claim.path[0] == "entries" and len(claim.path) > 1:
        return _compare_entry(claim, feed, document.url)
    field = FEED.get(claim.path)
    return field.compare(value, feed, document.url) if field else None


def _compare_entry(claim: Claim, feed: Feed, url: str) -> Compared | None:
    _, number, *rest = claim.path
    field = ENTRIES.get(tuple("*" if isinstance(step, int) else step for step in rest))
    if field is None or not isinstance(number, int):
        return None
    if number >= len(feed.entries):
        return Compared("entries", agrees=False, got=len(feed.entries))
    return field.compare(claim.value, feed.entries[number], url)


def _encoding(name: str, document: Document) -> Compared | None:
    """Compare what we decoded with what the encoding makes of it."""
    try:
        meant = document.body.decode(name, "replace")
    except LookupError:
        return None
    agrees = _squeezed(meant.lstrip("\ufeff")) == _squeezed(document.decoded)
    return Compared("encoding", agrees, document.decoded[:80])


class Field(NamedTuple):
    """What our reader gives of a feed or an entry.

    Attributes:
        name: its name in the report.
        get: reads it.
        agrees: compares the expected value with it; also gets the URL of the file.
    """

    name: str
    get: Callable[[Any], Any]
    agrees: Callable[[Any, Any, str], bool]

    def compare(self, value: Any, owner: Feed | Entry, url: str) -> Compared:
        got = self.get(owner)
        return Compared(self.name, self.agrees(value, got, url), got)


def _same_text(expected: Any, got: str, _: str = "") -> bool:
    """Return whether two texts are equal except for spaces, each of them plain or HTML."""
    return isinstance(expected, str) and _squeezed(got) in {_squeezed(expected), _squeezed(_text(expected))}


def _same_html(expected: Any, got: str, _: str = "") -> bool:
    """Return whether two fragments are equal, one unchanged or with its text escaped as HTML."""
    if not isinstance(expected, str):
        return False
    escaped = expected.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return got.strip() in {expected.strip(), escaped.strip()}


def _same_link(expected: Any, got: str | None, base: str) -> bool:
    """Return whether two links lead to one page; ours has its host in small letters."""
    return isinstance(expected, str) and urljoin(base, expected).lower() == (got or "").lower()


def _squeezed(text: str) -> str:
    return "".join(text.split())


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def _text(fragment: str) -> str:
    parser = _Text()
    parser.feed(fragment)
    parser.close()
    return parser.text


def _same_text_or_summary(expected: Any, got: tuple[str, str], _: str) -> bool:
    """Return whether a text is an entry's; if it has several forms, our summary is the plain one."""
    content, summary = got
    plain = isinstance(expected, str) and "<" not in expected and _same_text(expected, summary)
    return plain or _same_html(expected, content)


def _same_date(expected: Any, got: datetime | None, _: str) -> bool:
    return got == (datetime.fromtimestamp(calendar.timegm(expected), UTC) if expected else None)


def _equal(expected: Any, got: Any, _: str) -> bool:
    return expected == got


_count = Field("number of entries", lambda feed: len(feed.entries), lambda value, got, _: got == int(value))
_feed_title = Field("feed's title", lambda feed: feed.title, _same_text)
_title = Field("title", lambda entry: entry.title, _same_text)
_text_of = Field("text", lambda entry: (entry.content, entry.summary), _same_text_or_summary)
_identity = Field("identity", lambda entry: entry.external_id, _equal)
_date = Field("date", lambda entry: entry.published_at, _same_date)
_author = Field("author", lambda entry: entry.authors, lambda value, got, _: value in got)

FEED: dict[tuple[str | int, ...], Field] = {
    ("read",): Field("a feed at all", lambda feed: feed.version, lambda *_: True),
    ("version",): Field("version", lambda feed: feed.version, _equal),
    ("entries",): _count,
    ("len(entries)",): _count,
    ("feed", "title"): _feed_title,
    ("feed", "title_detail", "value"): _feed_title,
    ("feed", "link"): Field("feed's link", lambda feed: feed.url, _same_link),
}
"""What our reader gives of a feed, under feedparser's names."""

ENTRIES: dict[tuple[str, ...], Field] = {
    **dict.fromkeys([("title",), ("title_detail", "value")], _title),
    **dict.fromkeys([("description",), ("summary",)], _text_of),
    **dict.fromkeys([("description_detail", "value"), ("summary_detail", "value")], _text_of),
    ("content", "*", "value"): Field("text", lambda entry: entry.content, _same_html),
    ("link",): Field("link", lambda entry: entry.url, _same_link),
    **dict.fromkeys([("id",), ("guid",)], _identity),
    **dict.fromkeys([("published_parsed",), ("updated_parsed",), ("created_parsed",)], _date),
    **dict.fromkeys([("author_detail", "name"), ("authors", "*", "name")], _author),
}
"""What it gives of an entry."""


def files(tests: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a folder of tests such as feedparser's, with their names in it."""
    for folder in FOLDERS:
        for path in sorted((tests / folder).rglob("*.xml")):
            yield path, path.relative_to(tests).as_posix()


def main() -> int:
    """Read all files of a source distribution, and print a report."""
    parser = argparse.ArgumentParser(prog="python -m tests.tasks.web.feedparser_corpus")
    parser.add_argument("root", type=Path, help="the unpacked source distribution")
    parser.add_argument("--all", action="store_true", help="show each file that disagrees")
    given = parser.parse_args()
    outcomes = [examine(path, name) for path, name in files(given.root / "tests")]
    if not outcomes:
        parser.error(f"{given.root} has no tests/wellformed; give the unpacked source distribution")
    print(report(outcomes, whole=given.all))  # noqa: T201 - a command talks to who runs it
    return int(any(one.verdict is Verdict.DISAGREES and one.reason is None for one in outcomes))


def report(outcomes: list[Outcome], *, whole: bool) -> str:
    """Return the counts, with the reasons; and if ``whole`` each file that disagrees."""
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    lines = [f"{len(outcomes):5} files", *(f"{verdicts[verdict]:5} {verdict}" for verdict in Verdict)]
    apart = [outcome for outcome in outcomes if outcome.verdict is Verdict.DISAGREES]
    reasons = Counter(outcome.reason or f"for no known reason about {outcome.field}" for outcome in apart)
    lines += [
        "",
        "Why files disagree:",
        *(f"{number:5} {reason}" for reason, number in reasons.most_common()),
    ]
    if whole:
        for outcome in apart:
            lines += [
                "",
                f"{outcome.name}: {outcome.field}",
                f"  expects {outcome.claim}",
                f"  got {outcome.got!r}",
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
