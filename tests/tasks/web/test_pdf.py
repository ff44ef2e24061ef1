"""PDFs: their text, a paragraph a line, and what they say of themselves; and those that can't be read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import START
from tests.tasks.pdfs import pdf
from zeke_tasks.context import read
from zeke_tasks.readers import Readers
from zeke_tasks.store.model import Kind
from zeke_tasks.stories.read import read_page
from zeke_tasks.web import Fetched, PageError, Permanent
from zeke_tasks.web import pdf as reading
from zeke_tasks.web.pdf import Pdf, is_pdf, read_pdf

if TYPE_CHECKING:
    from zeke_tasks.stories.keep import Reading

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
    document = read_pdf(body, URL, now=START)
    assert document
    return document


def lines(*page: str) -> list[str]:
    return found(pdf(page)).text.split("\n")


def test_paragraphs_are_put_together_and_headings_stand_alone() -> None:
    assert lines(*LINES) == PARAGRAPHS


def test_a_gap_parts_paragraphs() -> None:
    full = LINES[1:2] * 3
    assert lines(*full, "", *full) == [" ".join(full)] * 2


def test_an_indent_parts_paragraphs() -> None:
    full, indented = list(LINES[1:2] * 3), f"   {LINES[1]}"
    assert lines(*full, indented, *full) == [" ".join(full), " ".join([LINES[1], *full])]
    assert lines(*full, indented) == [" ".join(full), LINES[1]]


def test_lines_that_are_all_indented_are_no_paragraphs() -> None:
    full = [f"   {LINES[1]}"] * 4
    assert lines(*full) == [" ".join(LINES[1:2] * 4)]


def test_pages_follow_each_other() -> None:
    assert found(pdf(LINES, ["Wasps"], LINES)).text.split("\n") == [*PARAGRAPHS, "Wasps", *PARAGRAPHS]


def test_rows_of_a_table_and_items_of_a_list_stay_apart() -> None:
    rows = ["- honey", "- wax", "Year 1999 2000", "Price 3 4"]
    assert lines(*LINES, *rows) == [*PARAGRAPHS, *rows]


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        (("some pol-", "lination"), "some pollination"),
        (("of COVID-", "19 times"), "of COVID-19 times"),
        (("an Anglo-", "Saxon word"), "an Anglo-Saxon word"),
        (("a well-known fact is well-", "known"), "a well-known fact is well-known"),
        (("we cooperate, and well-off co-", "operate"), "we cooperate, and well-off cooperate"),
        (("they co-operate or cooperate, so co-", "operate"), "they co-operate or cooperate, so cooperate"),
        (("a soft\xad", "ly set word"), "a softly set word"),
    ],
)
def test_words_that_were_broken_at_a_hyphen_are_mended_where_that_can_be_told(
    broken: tuple[str, str], whole: str
) -> None:
    assert lines(*broken) == [whole]


def test_no_character_is_lost() -> None:
    assert lines("Größe, naïve café (1 \\ 2) – “so”") == ["Größe, naïve café (1 \\ 2) – “so”"]


def test_what_can_not_be_kept_is_not_there() -> None:
    text = found(pdf(["be\x01es \x02 and\x0b wasps"], info={"Title": "Bees\x00 and\x07 wasps"})).text
    assert not any(character < " " and character != "\n" for character in text)


# What it says of itself


@pytest.mark.parametrize(
    ("title", "kept"),
    [
        ("On the Life of Bees", "On the Life of Bees"),
        ("  Über\n Bienen ", "Über Bienen"),
        ("", None),
        ("Microsoft Word - bees final (2).docx", None),
        ("bees_final.PDF", None),
        ("Untitled-1", None),
        ("PowerPoint Presentation", None),
        ("Slide 1", None),
        ("bees-and-wasps-v2", None),
        ("--- 12", None),
    ],
)
def test_a_title_is_kept_unless_it_is_for_machines(title: str, kept: str | None) -> None:
    assert found(pdf(LINES, info={"Title": title})).title == kept


def test_a_document_need_not_say_anything_of_itself() -> None:
    assert found(pdf(LINES)) == Pdf(title=None, text="\n".join(PARAGRAPHS), published_at=None)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("D:20250304103005+02'00'", datetime(2025, 3, 4, 8, 30, 5, tzinfo=UTC)),
        ("D:20250304103005-0530", datetime(2025, 3, 4, 16, 0, 5, tzinfo=UTC)),
        ("D:20250304103005Z00'00'", datetime(2025, 3, 4, 10, 30, 5, tzinfo=UTC)),
        ("D:20250304103005", datetime(2025, 3, 4, 10, 30, 5, tzinfo=UTC)),
        ("D:202503", datetime(2025, 3, 1, tzinfo=UTC)),
        ("20250304", datetime(2025, 3, 4, tzinfo=UTC)),
        ("D:20251304", None),
        ("D:20250304250000", None),
        ("D:19700101000000Z", None),
        ("D:99991231235959-23'59'", None),
        ("D:00010101000000+23'59'", None),
        ("D:20250304103005+99'99'", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_moment_it_was_made_is_kept_as_utc(written: str, moment: datetime | None) -> None:
    document = read_pdf(pdf(LINES, info={"CreationDate": written}), URL)
    assert document
    assert document.published_at == moment


def test_a_date_in_the_future_is_not_believed() -> None:
    body = pdf(LINES, info={"CreationDate": "D:20250304100000Z"})
    made = datetime(2025, 3, 4, 10, tzinfo=UTC)
    at_once, before = (read_pdf(body, URL, now=now) for now in (made, datetime(2025, 3, 1, tzinfo=UTC)))
    assert at_once
    assert at_once.published_at == made
    assert before
    assert before.published_at is None


# What is none, or can't be read


@pytest.mark.parametrize("pages", [[[]], [[""], ["  "]]], ids=["no line", "blanks"])
def test_a_document_without_text_has_none(pages: list[list[str]]) -> None:
    assert read_pdf(pdf(*pages), URL) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "broken"),
        (b"%PDF-1.7", "broken"),
        (b"%PDF-1.7\n" + b"junk " * 100, "broken"),
        (pdf(LINES)[:300], "broken"),
        (pdf(), "no pages"),
        (pdf(LINES, locked=True), "without a password"),
    ],
)
def test_a_document_that_can_not_be_read_is_an_error_that_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(PageError, match=reason):
        read_pdf(body, URL)


def test_a_document_that_lost_its_table_of_objects_is_read_all_the_same() -> None:
    body = pdf(LINES)
    assert found(body[: body.rindex(b"xref\n0")] + b"trailer\n<</Root 1 0 R>>").text.startswith("Bees\n")


def test_a_page_that_is_broken_says_nothing_of_those_beside_it() -> None:
    body = pdf(["One"], ["Two"], ["Three"])
    assert found(body.replace(b"Kids[4 0 R 6 0 R", b"Kids[4 0 R 3 0 R")).text == "One\nThree"
    with pytest.raises(PageError, match="Failed to load page"):
        read_pdf(body.replace(b"Kids[4 0 R 6 0 R 8 0 R", b"Kids[3 0 R 3 0 R 3 0 R"), URL)


def test_text_whose_place_nobody_knows_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> NoReturn:
        raise pypdfium2.PdfiumError("Failed to get charbox.")

    monkeypatch.setattr(pypdfium2.PdfTextPage, "get_charbox", unknown)
    assert lines(*LINES) == PARAGRAPHS


def test_only_so_many_pages_and_characters_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = pdf(["One", "Bees bees"], ["Two"], ["Three"])
    monkeypatch.setattr(reading, "PAGES", 2)
    assert found(body).text == "One\nBees bees\nTwo"
    monkeypatch.setattr(reading, "CHARACTERS", 5)
    assert found(body).text == "One\nB"


# As it is fetched


def fetched(body: bytes, content_type: str) -> Fetched:
    return Fetched(
        url=URL,
        final_url=f"{URL}#page=2",
        permanent_url=None,
        status=200,
        body=body,
        content_type=content_type,
        etag=None,
        last_modified=None,
        not_modified=False,
    )


def article(quoted: str) -> bytes:
    paragraph = f"<p>A PDF begins with {quoted}, says the standard.</p>"
    return f"<html><body><article>{paragraph}</article></body></html>".encode()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/pdf",
        "Application/PDF; x=y",
        "application/x-pdf",
        "application/octet-stream",
        "text/html",
        "",
    ],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_pdf_is_known_whatever_its_server_calls_it(content_type: str, before: bytes) -> None:
    body = pdf(LINES, info={"Title": "On Bees", "CreationDate": "D:20260101"})
    got = read_page(fetched(before + body, content_type), START)
    assert got
    assert got.text == "\n".join(PARAGRAPHS)
    assert (got.title, got.url, got.kind) == ("On Bees", URL, Kind.PDF)
    assert (got.published_at, got.language) == (read_pdf(body, URL, now=START).published_at, None)  # type: ignore[union-attr]


def test_an_article_about_the_format_is_none() -> None:
    got = read_page(fetched(article("%PDF-1.7"), "text/html"), START)
    assert got
    assert got.kind is None
    assert "says the standard" in got.text


def test_the_mark_is_looked_for_at_the_start_only() -> None:
    assert is_pdf(b" " * 1000 + b"%PDF-1.7", "")
    assert not is_pdf(b" " * 1024 + b"%PDF-1.7", "")


# Whatever comes


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


async def outcome(readers: Readers, body: bytes) -> Reading | Permanent | None:
    try:
        return await read(readers, URL, read_page, fetched(body, "application/pdf"), START)
    except Permanent as error:
        return error


@pytest.fixture(scope="module")
def drawn() -> list[bytes]:
    """Documents that are broken in as many ways, the same ones in each run."""
    bodies: list[bytes] = []

    @given(MUTATIONS)
    def draw(changes: list[tuple[int, bytes]]) -> None:
        bodies.append(mutated(changes))

    draw()
    return bodies


async def test_whatever_comes_is_a_text_or_an_error_of_ours(drawn: list[bytes]) -> None:
    async with Readers(2) as readers:
        got = await asyncio.gather(*(outcome(readers, body) for body in drawn))
        whole = await outcome(readers, SAMPLE)
    assert len(got) == len(drawn) >= 50
    texts = [one.text for one in got if one is not None and not isinstance(one, Permanent)]
    assert not any(set(text) & set("\0\x02\ufffe\ud800") for text in texts)
    assert not isinstance(whole, Permanent | None)
    assert whole.title == "On Bees"
