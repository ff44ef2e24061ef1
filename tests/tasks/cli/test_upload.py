"""``zeke upload``: a user's own files, from their text to the briefs of their stories."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.tasks.pdfs import pdf
from tests.tasks.scripted_web import page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tasks.cli.conftest import Zeke

NOTES = """Some remarks first.

# Queues in tables

A queue in a table is enough for most teams. It needs no broker, and it is backed up with the rest.
"""


async def test_a_document_becomes_a_story_that_is_told(zeke: Zeke, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text(NOTES, encoding="utf-8")
    result = await zeke("upload", str(tmp_path / "notes.md"))
    assert result.exit_code == 0, result.output
    assert "Queues in tables" in result.stdout
    assert "one line" in result.stdout
    assert "the stub, which is no AI" in result.stdout
    assert "briefs 1/1" in result.stderr
    (story,) = await zeke.json("stories")
    assert story["source"]["name"] == "Uploads"


async def test_the_same_text_is_taken_in_once_and_shown_again(zeke: Zeke, tmp_path: Path) -> None:
    for name in ("notes.md", "copy.txt"):
        (tmp_path / name).write_text(NOTES, encoding="utf-8")
    first = await zeke.json("upload", str(tmp_path / "notes.md"), "--source", "Notes")
    again = await zeke.json("upload", str(tmp_path / "copy.txt"), "--source", "Notes")
    assert first["source"] == again["source"]
    assert first["source"]["name"] == "Notes"
    assert [item["storyId"] for item in first["items"]] == [item["storyId"] for item in again["items"]]
    assert again["items"][0]["brief"]["oneLiner"]
    assert len(await zeke.json("stories")) == 1


async def test_pages_and_pdfs_are_read(zeke: Zeke, tmp_path: Path) -> None:
    (tmp_path / "bees.html").write_text(page("Bees", "bees"), encoding="utf-8")
    (tmp_path / "paper").write_bytes(pdf(["Birds sing in the morning, and some of them at night."]))
    items = (await zeke.json("upload", str(tmp_path / "bees.html"), str(tmp_path / "paper")))["items"]
    assert {item["title"] for item in items} == {"Bees", "paper"}
    assert {item["status"] for item in items} == {"processed"}


async def test_an_item_with_nothing_to_read_is_said_and_holds_up_no_other(zeke: Zeke, tmp_path: Path) -> None:
    items = [
        {"externalId": "1", "text": "Bees make honey in their hives."},
        {"externalId": "2", "title": "No"},
    ]
    (tmp_path / "items.json").write_text(json.dumps(items), encoding="utf-8")
    result = await zeke("upload", str(tmp_path / "items.json"))
    assert result.exit_code == 1
    assert "Stories (1)" in result.stdout
    assert "it has no text" in result.stdout


async def test_what_can_t_be_read_is_refused_whole(zeke: Zeke, tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text(NOTES, encoding="utf-8")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    said = await zeke.fails("upload", str(tmp_path / "good.txt"), str(tmp_path / "bad.json"), code=2)
    assert "bad.json is no JSON" in said
    assert "Nothing was uploaded" in said
    assert await zeke.json("stories") == []
    assert await zeke.json("sources", "list") == []


async def test_a_file_that_is_not_there_is_a_wrong_call(zeke: Zeke, tmp_path: Path) -> None:
    assert "does not exist" in await zeke.fails("upload", str(tmp_path / "nothing.txt"), code=2)
    (tmp_path / "a.txt").write_text(NOTES, encoding="utf-8")
    assert "--source" in await zeke.fails("upload", str(tmp_path / "a.txt"), "--source", " ", code=2)
