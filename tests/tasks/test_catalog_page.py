"""docs/catalog.md says of each task what the catalog says."""

from __future__ import annotations

import re

from tests.tidy import ROOT
from zeke_queue.catalog import Catalog
from zeke_tasks import payloads
from zeke_tasks.catalog import build_catalog
from zeke_tasks.payloads import Payload

PAGE = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)


def _catalog() -> Catalog:
    return build_catalog()


def test_each_task_stands_there_once_with_its_limit_and_its_aliases() -> None:
    tasks = _catalog().tasks
    assert len(ROWS) == len(tasks)
    assert {name: int(limit) for name, limit, *_ in ROWS} == {
        name: task.concurrency_limit for name, task in tasks.items()
    }
    for name, _, _, said in ROWS:
        aliases = re.findall(r"`([a-z-]+)`", said.partition("Also ")[2])
        assert sorted(aliases) == sorted(tasks[name].aliases), name


def _payload_of(name: str) -> type[Payload]:
    """The model of a task's payload, by its name; those of YouTube are the ones of feeds."""
    words = "".join(word.title() for word in name.split("-"))
    same = {"IngestPullYoutube": "IngestPull", "IngestFromYoutube": "IngestSource"}
    return getattr(payloads, same.get(words, words))


def test_each_payload_is_listed_with_what_may_be_left_out() -> None:
    for name, _, listed, _ in ROWS:
        fields = {field.alias: not field.is_required() for field in _payload_of(name).model_fields.values()}
        told = {word.removesuffix("?"): word.endswith("?") for word in re.findall(r"`([\w?]+)`", listed)}
        assert told == fields, name


def test_each_task_that_is_said_to_be_sent_is_one() -> None:
    names = {name for *_, said in ROWS for name in re.findall(r"`((?:[a-z]+-)+[a-z]+)`", said)}
    tasks = _catalog().tasks
    assert names <= tasks.keys() | {alias for task in tasks.values() for alias in task.aliases}
