"""``zeke upload``: a user's own files, from their text to the briefs of their stories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.cli.conftest import Zeke
from tests.tasks.pdfs import pdf
from zeke_tasks.testing.web import page

NOTES = """Some remarks first.

# Queues in tables

A queue in a table is enough for most teams. It needs no broker, and it is backed up with the rest.
"""


async def test_document_becomes_a_story_once(zeke: Zeke, tmp_path: Path) -> None:
    for name in ("notes.md", "copy.txt"):
        (tmp_path / name).write_text(NOTES, encoding="utf-8")
    result = await zeke("upload", str(tmp_path / "notes.md"), "--source", "Notes")
    assert result.exit_code == 0, result.output
    for words in ("Queues in tables", "one line", "the stub (not an AI)"):
        assert words in result.stdout
    assert "briefs 1/1" in result.stderr
    again = await zeke.json("upload", str(tmp_path / "copy.txt"), "--source", "Notes")
    (story,) = await zeke.json("stories")
    assert story["source"]["name"] == again["source"]["name"] == "Notes"
    (item,) = again["items"]
    assert item["storyId"] == story["id"]
    assert item["brief"]["oneLiner"]
    assert len(await zeke.json("sources", "list")) == 1


@pytest.mark.nightly
async def test_pages_and_pdfs_are_read(zeke: Zeke, tmp_path: Path) -> None:
    (tmp_path / "bees.html").write_text(page("Bees", "bees"), encoding="utf-8")
    (tmp_path / "paper").write_bytes(pdf(["Birds sing in the morning, and some of them at night."]))
    uploaded = await zeke.json("upload", str(tmp_path / "bees.html"), str(tmp_path / "paper"))
    assert uploaded["source"]["name"] == "Uploads"
    assert {item["title"] for item in uploaded["items"]} == {"Bees", "paper"}
    assert {item["status"] for item in uploaded["items"]} == {"processed"}


@pytest.mark.nightly
async def test_empty_item_is_reported_and_delays_no_other(zeke: Zeke, tmp_path: Path) -> None:
    items = [
        {"externalId": "1", "text": "Bees make honey in their hives."},
        {"externalId": "2", "title": "No"},
    ]
    (tmp_path / "items.json").write_text(json.dumps(items), encoding="utf-8")
    result = await zeke("upload", str(tmp_path / "items.json"))
    assert result.exit_code == 1
    assert "Stories (1)" in result.stdout
    assert "it has no text" in result.stdout


@pytest.mark.nightly
async def test_unreadable_file_refuses_the_whole_upload(zeke: Zeke, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text(NOTES, encoding="utf-8")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    said = await zeke.fails("upload", str(tmp_path / "good.txt"), str(tmp_path / "bad.json"), code=2)
    assert "bad.json: must be JSON" in said
    assert "Nothing was uploaded" in said
    assert await zeke.json("stories") == []
    assert await zeke.json("sources", "list") == []


async def test_missing_file_is_a_usage_error(zeke: Zeke, tmp_path: Path) -> None:
    assert "does not exist" in await zeke.fails("upload", str(tmp_path / "nothing.txt"), code=2)
    (tmp_path / "a.txt").write_text(NOTES, encoding="utf-8")
    assert "--source" in await zeke.fails("upload", str(tmp_path / "a.txt"), "--source", " ", code=2)
