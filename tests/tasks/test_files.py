"""What a user's files hold, and why one can't be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.cases import check_each
from tests.tasks.pdfs import pdf
from tests.tasks.scripted_web import page
from zeke_queue.errors import UsageError
from zeke_queue.task.task import PAYLOAD_CAP
from zeke_tasks.fetch import content_hash
from zeke_tasks.ingest.files import chunks, read_file
from zeke_tasks.payloads import IngestFromUpload, UploadedItem

NOW = datetime(2026, 1, 5, tzinfo=UTC)
NOTES = "Some remarks first.\n\n# Queues in tables #\n\nA queue in a table is enough for most teams.\n"
ITEMS = [
    {"externalId": "1", "title": "Bees", "text": "Bees make honey.", "metadata": {"a": 1}},
    {"externalId": "2", "url": "https://a.example/birds"},
]


def test_document_becomes_one_item() -> None:
    def check(name: str, body: bytes, title: str, words: str) -> None:
        (item,) = read_file(name, body, NOW)
        assert item.title == title
        assert words in (item.text or "")
        # Whatever its file is called, it is the same item.
        assert item.external_id == read_file(f"other-{name}", body, NOW)[0].external_id

    cases = [
        (
            "bees.txt",
            b"How bees find home\n\nThey remember landmarks.",
            "How bees find home",
            "They remember",
        ),
        ("bees.txt", b"They remember\nlandmarks.", "bees", "They remember"),
        *(
            (f"notes.{ending}", NOTES.encode(), "Queues in tables", "enough for most teams")
            for ending in ("md", "MD", "markdown", "mdown", "mkd")
        ),
        ("notes.txt", "Käse.".encode("utf-16"), "notes", "Käse."),
        ("notes", "Käse.".encode("cp1252"), "notes", "Käse."),
        ("bees.html", page("Bees", "bees").encode(), "Bees", "bees"),
        ("bees", page("Bees", "bees").encode(), "Bees", "bees"),
        ("paper.pdf", pdf(["Birds sing."]), "paper", "Birds sing."),
        ("paper", pdf(["Birds sing."], info={"Title": "Of birds"}), "Of birds", "Birds sing."),
    ]
    check_each(cases, check)


def test_document_is_identified_by_its_source_text() -> None:
    # Of which Markdown's marks are a part: to take more of them as such makes no new item of an old file.
    written = "Bees make **honey**.\n"
    (plain,) = read_file("bees.txt", written.encode(), NOW)
    (marked,) = read_file("bees.md", written.encode(), NOW)
    assert marked.external_id == plain.external_id == content_hash(written)
    assert marked.text == "Bees make honey."


def test_json_files_become_items() -> None:
    def check(name: str, text: str) -> None:
        assert read_file(name, text.encode(), NOW) == [UploadedItem.model_validate(item) for item in ITEMS]

    cases = [
        ("items.json", json.dumps(ITEMS)),
        ("items.json", json.dumps({"items": ITEMS})),
        ("items.jsonl", "\n\n".join(map(json.dumps, ITEMS))),
        ("ITEMS.NDJSON", "\n".join(map(json.dumps, ITEMS))),
    ]
    check_each(cases, check)


def test_unreadable_file_is_refused_with_place() -> None:
    def check(name: str, body: bytes, words: str) -> None:
        with pytest.raises(UsageError) as refused:
            read_file(name, body, NOW)
        assert words in str(refused.value)
        assert "Nothing was uploaded" in str(refused.value)

    cases = [
        ("a.json", b"{", "a.json: must be JSON"),
        ("a.json", b"[" * 100_000, "a.json: must be JSON"),
        ("a.json", b"[]", "has no items"),
        ("a.json", b'[{"externalId": "1"}, 7]', "item 2: the item: "),
        ("a.jsonl", b'{"externalId": "1"}\n\n{"text": "b"}', "line 3: externalId: "),
        ("a.jsonl", b'{"externalId": "1"}\n{', "line 2: must be JSON"),
        ("a.txt", b" \n", "a.txt is empty. N"),
        ("a.md", b"", "a.md is empty. N"),
        ("a.pdf", b"", "a.pdf is empty. N"),
        (
            "a.md",
            b"---\ntitle: Bees\n---\n",
            "has no text: it consists of markup, or of lines for machines",
        ),
        ("a.mkd", b"***\n", "has no text: it consists of markup"),
        ("a.pdf", pdf([""]), "has no text; it may be a scan"),
        ("a", pdf([""]), "has no text; it may be a scan"),
        ("a.txt", bytes(range(256)) * 8, "must be text, Markdown"),
        ("a.html", b"<html><body></body></html>", "a.html has no text. N"),
        ("a.pdf", b"%PDF-1.7 broken", "a.pdf: "),
    ]
    check_each(cases, check)


def _item(number: int, text: str) -> UploadedItem:
    return UploadedItem(external_id=str(number), text=text)


def test_items_are_split_by_size_of_payload() -> None:
    items = [_item(number, "é" * 100_000) for number in range(12)]
    parts = chunks(items, ["a.json"] * 12)
    assert [item for part in parts for item in part] == items
    assert len(parts) == 3
    for part in parts:
        payload = IngestFromUpload(source_id="00000000-0000-0000-0000-000000000001", items=part)  # type: ignore[arg-type]
        assert len(payload.model_dump_json(by_alias=True).encode()) <= PAYLOAD_CAP


def test_too_large_item_is_refused_with_its_file() -> None:
    with pytest.raises(UsageError, match=r"b\.txt.*too large"):
        chunks([_item(1, "a"), _item(2, "a" * PAYLOAD_CAP)], ["a.txt", "b.txt"])
