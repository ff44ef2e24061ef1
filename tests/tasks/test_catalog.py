"""The catalog: which tasks there are, under which names, and how many of each run at once."""

from __future__ import annotations

from zeke_tasks.catalog import build_catalog

LIMITS = {
    "analyze-story": 5,
    "attach-insight-to-story": 3,
    "dedupe-insights": 5,
    "extract-highlights": 10,
    "fetch-content": 3,
    "generate-brief": 10,
    "ingest-from-upload": 2,
    "ingest-from-youtube": 3,
    "ingest-oneoff": 2,
    "ingest-pull": 1,
    "ingest-pull-youtube": 1,
    "ingest-source": 5,
    "link-source-to-story": 5,
    "playbook-run": 2,
    "score-relevance": 20,
    "summarize-story": 4,
    "update-story-status": 8,
}
ALIASES = {
    "ingest-youtube-channel": "ingest-from-youtube",
    "insights-attach-to-story": "attach-insight-to-story",
    "insights-dedupe": "dedupe-insights",
    "story-summarize": "summarize-story",
    "story-update-status": "update-story-status",
}


def test_tasks_have_the_limits_of_the_original() -> None:
    assert {name: task.concurrency_limit for name, task in build_catalog().tasks.items()} == LIMITS


def test_limits_of_the_names_of_a_task_add_up_to_its_limit() -> None:
    catalog = build_catalog()
    together = dict.fromkeys(catalog.tasks, 0)
    for queue in catalog.stored_queues():
        together[catalog.get(queue.name).name] += queue.concurrency_limit or 0
    assert together == {name: task.concurrency_limit for name, task in catalog.tasks.items()}


def test_task_names_of_the_original_code_are_served() -> None:
    catalog = build_catalog()
    aliases = {alias: task.name for task in catalog.tasks.values() for alias in task.aliases}
    assert aliases == ALIASES


def test_each_task_has_a_description() -> None:
    assert all(task.description for task in build_catalog().tasks.values())
