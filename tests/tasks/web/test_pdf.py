"""PDFs: their text, one line per paragraph, their metadata, and unreadable ones."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import NoReturn

import pypdfium2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import check_each, each
from tests.clocks import START
from tests.tasks.domain import there
from tests.tasks.pdfs import pdf
from zeke_tasks.context import read
from zeke_tasks.fetch import Fetched, PageError, Permanent
from zeke_tasks.fetch import pdf as reading
from zeke_tasks.fetch.parser_pool import ParserPool
from zeke_tasks.fetch.pdf import Pdf, is_pdf, read_pdf
from zeke_tasks.store.model import Kind
from zeke_tasks.stories.keep import Reading
from zeke_tasks.stories.read import read_page
from zeke_tasks.testing.web import fetched

URL = "https://example.org/paper.pdf"
LINES = (
    "Bees",
    "The first sentence of this paragraph goes on to the margin, and",
    "over it to the next line, where it ends early.",
    "Here another one begins, which is as long as the first was, and",
    "has more to say.",
)
PARAGRAPHS = ["Bees", " ".join(LINES[1:3]), " ".join(LINES[3:5])]


def found(body: bytes) -> Pdf:
    return there(read_pdf(body, URL, now=START))


def lines(*page: str) -> list[str]:
    return found(pdf(page)).text.split("\n")


def test_lines_are_joined_to_paragraphs() -> None:
    def check(page: list[str], expected: list[str]) -> None:
        assert lines(*page) == expected

    full, indented = [LINES[1]] * 3, f"   {LINES[1]}"
    paragraph = " ".join(full)
    rows = ["- honey", "- wax", "Year 1999 2000", "Price 3 4"]
    cases = {
        "headings stand alone": ([*LINES], PARAGRAPHS),
        "a gap": ([*full, "", *full], [paragraph, paragraph]),
        "an indent": ([*full, indented, *full], [paragraph, " ".join([LINES[1], *full])]),
        "an indent at the end": ([*full, indented], [paragraph, LINES[1]]),
        "all indented": ([indented] * 4, [" ".join([LINES[1]] * 4)]),
        "rows and items": ([*LINES, *rows], [*PARAGRAPHS, *rows]),
        "no character is lost": (["Größe, naïve café (1 \\ 2) – “so”"],) * 2,
    }
    check_each(cases, check)


def test_pages_follow_each_other() -> None:
    assert found(pdf(LINES, ["Wasps"], LINES)).text.split("\n") == [*PARAGRAPHS, "Wasps", *PARAGRAPHS]


@each(
    ("some pol-", "lination", "some pollination"),
    ("of COVID-", "19 times", "of COVID-19 times"),
    ("an Anglo-", "Saxon word", "an Anglo-Saxon word"),
    ("a well-known fact is well-", "known", "a well-known fact is well-known"),
    ("we cooperate, and well-off co-", "operate", "we cooperate, and well-off cooperate"),
    ("they co-operate or cooperate, so co-", "operate", "they co-operate or cooperate, so cooperate"),
    ("a soft\xad", "ly set word", "a softly set word"),
)
def test_hyphenated_words_are_joined_where_the_text_shows_how(first: str, second: str, whole: str) -> None:
    assert lines(first, second) == [whole]


def test_control_characters_are_removed() -> None:
    text = found(pdf(["be\x01es \x02 and\x0b wasps"], info={"Title": "Bees\x00 and\x07 wasps"})).text
    assert not any(character < " " and character != "\n" for character in text)


def test_title_is_kept_unless_it_is_a_file_name() -> None:
    def check(title: str, kept: str | None) -> None:
        assert found(pdf(LINES, info={"Title": title})).title == kept

    kept = [("On the Life of Bees", "On the Life of Bees"), ("  Über\n Bienen ", "Über Bienen")]
    files = ("Microsoft Word - bees final (2).docx", "bees_final.PDF", "bees-and-wasps-v2", "--- 12")
    defaults = ("", "Untitled-1", "PowerPoint Presentation", "Slide 1")
    check_each([*kept, *((title, None) for title in files + defaults)], check)


def test_document_without_information_is_read() -> None:
    assert found(pdf(LINES)) == Pdf(title=None, text="\n".join(PARAGRAPHS), published_at=None)


@each(
    ("D:20250304103005+02'00'", datetime(2025, 3, 4, 8, 30, 5, tzinfo=UTC)),
    ("D:20250304103005-0530", datetime(2025, 3, 4, 16, 0, 5, tzinfo=UTC)),
    ("D:20250304103005Z00'00'", datetime(2025, 3, 4, 10, 30, 5, tzinfo=UTC)),
    ("D:20250304103005", datetime(2025, 3, 4, 10, 30, 5, tzinfo=UTC)),
    ("D:202503", datetime(2025, 3, 1, tzinfo=UTC)),
    ("20250304", datetime(2025, 3, 4, tzinfo=UTC)),
    *((written, None) for written in ("D:20251304", "D:20250304250000", "yesterday", "")),
    # Out of range, some only when moved to UTC.
    ("D:19700101000000Z", None),
    ("D:99991231235959-23'59'", None),
    ("D:00010101000000+23'59'", None),
    ("D:20250304103005+99'99'", None),
)
def test_creation_date_is_read_as_utc(written: str, moment: datetime | None) -> None:
    document = there(read_pdf(pdf(LINES, info={"CreationDate": written}), URL))
    assert document.published_at == moment


def test_date_in_the_future_is_ignored() -> None:
    body = pdf(LINES, info={"CreationDate": "D:20250304100000Z"})
    made = datetime(2025, 3, 4, 10, tzinfo=UTC)
    at_once, before = (read_pdf(body, URL, now=now) for now in (made, datetime(2025, 3, 1, tzinfo=UTC)))
    assert at_once
    assert at_once.published_at == made
    assert before
    assert before.published_at is None


def test_document_without_text_is_none() -> None:
    assert read_pdf(pdf([]), URL) is None
    assert read_pdf(pdf([""], ["  "]), URL) is None


def test_unreadable_document_is_refused_with_reason() -> None:
    def check(body: bytes, reason: str) -> None:
        with pytest.raises(PageError, match=reason):
            read_pdf(body, URL)

    lost_pages = pdf(["One"], ["Two"]).replace(b"Kids[4 0 R 6 0 R", b"Kids[3 0 R 3 0 R")
    cases = {
        "empty": (b"", "broken"),
        "nothing but a signature": (b"%PDF-1.7", "broken"),
        "junk": (b"%PDF-1.7\n" + b"junk " * 100, "broken"),
        "truncated": (pdf(LINES)[:300], "broken"),
        "no pages": (pdf(), "no pages"),
        "locked": (pdf(LINES, locked=True), "without a password"),
        "pages that are none": (lost_pages, "Failed to load page"),
    }
    check_each(cases, check)


def test_document_without_object_table_is_read() -> None:
    body = pdf(LINES)
    assert found(body[: body.rindex(b"xref\n0")] + b"trailer\n<</Root 1 0 R>>").text.startswith("Bees\n")


def test_broken_page_does_not_affect_others() -> None:
    body = pdf(["One"], ["Two"], ["Three"])
    assert found(body.replace(b"Kids[4 0 R 6 0 R", b"Kids[4 0 R 3 0 R")).text == "One\nThree"


def test_text_without_position_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise pypdfium2.PdfiumError("Failed to get charbox.")

    monkeypatch.setattr(pypdfium2.PdfTextPage, "get_charbox", unknown)
    assert lines(*LINES) == PARAGRAPHS


def test_pages_and_characters_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    body = pdf(["One", "Bees bees"], ["Two"], ["Three"])
    monkeypatch.setattr(reading, "PAGES", 2)
    assert found(body).text == "One\nBees bees\nTwo"
    monkeypatch.setattr(reading, "CHARACTERS", 5)
    assert found(body).text == "One\nB"


def page_of(body: bytes, content_type: str) -> Fetched:
    return fetched(f"{URL}#page=2", body, content_type=content_type)


def test_pdf_is_recognised_under_any_content_type() -> None:
    def check(content_type: str, before: bytes = b"") -> None:
        got = there(read_page(page_of(before + body, content_type), START))
        assert got.text == "\n".join(PARAGRAPHS)
        assert (got.title, got.url, got.kind) == ("On Bees", URL, Kind.PDF)
        assert (got.published_at, got.language) == (datetime(2026, 1, 1, tzinfo=UTC), None)

    body = pdf(LINES, info={"Title": "On Bees", "CreationDate": "D:20260101"})
    pdfs = ["application/pdf", "Application/PDF; x=y", "application/x-pdf", "application/octet-stream"]
    prefixes = [b"\xef\xbb\xbf\n", b"HTTP/1.1 200 OK\r\n\r\n"]
    check_each([*pdfs, "text/html", "", *(("text/html", before) for before in prefixes)], check)


def test_article_about_pdf_is_not_a_pdf() -> None:
    words = b"A PDF begins with %PDF-1.7, says the standard."
    body = b"<html><body><article><p>" + words + b"</p></article></body></html>"
    got = there(read_page(page_of(body, "text/html"), START))
    assert got.kind is None
    assert "says the standard" in got.text


def test_pdf_signature_must_be_near_the_start() -> None:
    assert is_pdf(b" " * 1000 + b"%PDF-1.7", "")
    assert not is_pdf(b" " * 1024 + b"%PDF-1.7", "")


SAMPLE = pdf(LINES, ["Wasps"], info={"Title": "On Bees", "CreationDate": "D:20250304"})
MUTATIONS = st.lists(
    st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(max_size=8)), min_size=1, max_size=12
)


def mutated(changes: list[tuple[int, bytes]]) -> bytes:
    body = bytearray(SAMPLE)
    for at, put in changes:
        body[at : at + len(put)] = put
        if not put:
            del body[at : at + 40]
    return bytes(body)


async def outcome(readers: ParserPool, body: bytes) -> Reading | Permanent | None:
    try:
        return await read(readers, URL, read_page, page_of(body, "application/pdf"), START)
    except Permanent as error:
        return error


def drawn_bodies() -> list[bytes]:
    """Return documents that are broken in as many ways, the same ones in each run."""
    bodies: list[bytes] = []

    @settings(max_examples=60)
    @given(MUTATIONS)
    def draw(changes: list[tuple[int, bytes]]) -> None:
        bodies.append(mutated(changes))

    draw()
    return bodies


async def test_mutated_pdf_is_text_or_a_permanent_error() -> None:
    drawn = drawn_bodies()
    async with ParserPool(2) as readers:
        got = await asyncio.gather(*(outcome(readers, body) for body in drawn))
        whole = await outcome(readers, SAMPLE)
    assert len(got) == len(drawn) >= 50
    texts = [one.text for one in got if one is not None and not isinstance(one, Permanent)]
    assert not any(set(text) & set("\0\x02\ufffe\ud800") for text in texts)
    assert not isinstance(whole, Permanent | None)
    assert whole.title == "On Bees"
