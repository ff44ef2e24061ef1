"""The catalog, its resources, its page docs/catalog.md, and what the extra ``tasks`` brings along."""

from __future__ import annotations

import re
import tomllib
from decimal import Decimal
from importlib.metadata import distribution
from zoneinfo import ZoneInfo

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.cases import each
from tests.tidy import ROOT
from zeke_tasks import payloads
from zeke_tasks.ai.budget import Budget
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import open_context
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch import AddressRefused
from zeke_tasks.insights.relevance import KEYWORDS_ENOUGH, KIND, WEIGHTS, score
from zeke_tasks.insights.rules import CONFIDENCE, kind_of
from zeke_tasks.keywords import DEFAULT_KEYWORDS
from zeke_tasks.payloads import Payload
from zeke_tasks.playbooks.run import DEEPEST
from zeke_tasks.store.highlights import HighlightKind


def test_schedules_are_those_of_the_earlier_system_and_of_retention() -> None:
    assert [(one.name, one.cron, one.description) for one in build_catalog().schedules] == [
        ("ingest-pull", "*/5 * * * *", "RSS feed ingestion"),
        ("ingest-pull-youtube", "0 */6 * * *", "YouTube channel ingestion"),
        ("apply-retention", "17 3 * * *", "Deletion of old rows"),
    ]


@each("zeke_queue/storage/postgres", "zeke_tasks/store/postgres")
def test_migrations_are_numbered_consecutively(folder: str) -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / folder / "migrations").glob("*.sql"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_each_task_has_a_description() -> None:
    assert all(task.description for task in build_catalog().tasks.values())


async def test_resources_of_workers_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: Request) -> Answer:
        return Answer(body=b"ok")

    deleted = {"stories": 1e5, "runs": 2e5, "spending": 3e5}
    ages = {f"ZEKE_DELETE_{kind.upper()}_AFTER": age for kind, age in deleted.items()}
    async with LoopbackServer(answer) as listed, LoopbackServer(answer) as other:
        for name, value in {
            "ZEKE_AI": "stub",
            "ZEKE_AI_BUDGET": "2.50",
            "ZEKE_AI_BUDGET_TZ": "Europe/Berlin",
            "ZEKE_FETCH_ALLOW": f"127.0.0.1:{listed.port}",
            **{name: str(age) for name, age in ages.items()},
        }.items():
            monkeypatch.setenv(name, value)
        async with open_context() as context:
            assert context.budget == Budget(Decimal("2.5"), ZoneInfo("Europe/Berlin"))
            assert {name.upper(): age for name, age in context.retention.model_dump().items()} == ages
            await context.web.fetch(f"{listed.base_url}/", kind="page")
            with pytest.raises(AddressRefused):
                await context.web.fetch(f"{other.base_url}/", kind="page")
    assert listed.hits.total() == 1
    assert not other.hits


PAGE = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
KINDS = re.findall(r"^\| `([a-z_]+)` \| .* \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
PARTS = re.findall(r"^\| `([a-z]+)` \| ([\d.]+) \| ", PAGE, re.MULTILINE)
ROWS = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.*?) \| (.*) \|$", PAGE, re.MULTILINE)


def test_each_task_is_listed_once_with_its_limit_and_aliases() -> None:
    tasks = build_catalog().tasks
    assert len(ROWS) == len(tasks)
    assert {name: int(limit) for name, limit, *_ in ROWS} == {
        name: task.concurrency_limit for name, task in tasks.items()
    }
    for name, _, _, said in ROWS:
        aliases = re.findall(r"`([a-z-]+)`", said.partition("Also ")[2])
        assert sorted(aliases) == sorted(tasks[name].aliases), name


def test_limits_are_shared_as_documented() -> None:
    ((limit, *names),) = re.findall(r"shows (\d+)\s+for both `([a-z-]+)` and `([a-z-]+)`", PAGE)
    stored = {queue.name: queue for queue in build_catalog().stored_queues()}
    assert [stored[name].concurrency_limit for name in names] == [int(limit)] * 2
    assert [stored[name].limited_with for name in names] == [tuple(names)] * 2


def _payload_of(name: str) -> type[Payload]:
    """Return the model of a task's payload, by its name; those of YouTube are the ones of feeds."""
    words = "".join(word.title() for word in name.split("-"))
    same = {"IngestPullYoutube": "IngestPull", "IngestFromYoutube": "IngestSource"}
    return getattr(payloads, same.get(words, words))


def test_each_payload_is_listed_with_its_optional_fields() -> None:
    for name, _, listed, _ in ROWS:
        fields = {field.alias: not field.is_required() for field in _payload_of(name).model_fields.values()}
        told = {word.removesuffix("?"): word.endswith("?") for word in re.findall(r"`([\w?]+)`", listed)}
        assert told == fields, name


def test_each_documented_follow_up_is_a_task() -> None:
    names = {name for *_, said in ROWS for name in re.findall(r"`((?:[a-z]+-)+[a-z]+)`", said)}
    tasks = build_catalog().tasks
    assert names <= tasks.keys() | {alias for task in tasks.values() for alias in task.aliases}


def test_kinds_of_highlights_have_the_documented_weights() -> None:
    assert {kind: (float(sure), float(weight)) for kind, sure, weight in KINDS} == {
        kind.value: (sure, float(KIND[kind])) for kind, sure in CONFIDENCE.items()
    }
    said = r"user wrote has ([\d.]+), an action ([\d.]+), a quote ([\d.]+), a question ([\d.]+)"
    (others,) = re.findall(said, PAGE)
    kinds = (HighlightKind.INSIGHT, HighlightKind.ACTION, HighlightKind.QUOTE, HighlightKind.QUESTION)
    assert tuple(map(float, others)) == tuple(float(KIND[kind]) for kind in kinds)


def test_parts_of_a_score_have_the_documented_weights() -> None:
    assert {part: float(weight) for part, weight in PARTS} == {
        part: float(weight) for part, weight in WEIGHTS.items()
    }


def test_example_of_a_score_has_the_documented_result() -> None:
    ((sentence, sums, total),) = re.findall(r"So \*(.*?)\*.*?has ([\d.·/+ ]+)\n= ([\d.]+)\.", PAGE)
    assert kind_of(sentence) is HighlightKind.METRIC
    found = score(HighlightKind.METRIC, sentence, keywords=DEFAULT_KEYWORDS, authority=None, age_days=0)
    assert found.value == float(total)
    assert f"0.4 · {len(found.matches)}/{KEYWORDS_ENOUGH} " in sums


def test_depth_of_playbooks_is_documented() -> None:
    assert {8: "eight"}[DEEPEST] + " runs can be nested" in PAGE


def _installed(requirements: list[str], *, by_normal_form: bool) -> set[str]:
    """Return the names of the packages that requirements install, including their dependencies."""
    waiting = [Requirement(one) for one in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name, found = canonicalize_name(wanted.name), distribution(wanted.name)
        offered = found.metadata.get_all("Provides-Extra") or []
        known = {canonicalize_name(extra): extra for extra in offered} if by_normal_form else {}
        for asked in {"", *wanted.extras}:
            extra = known.get(canonicalize_name(asked), asked) if asked else ""
            if (name, extra) in seen or (extra and extra not in offered):
                continue
            seen.add((name, extra))
            needs = (Requirement(one) for one in found.requires or [])
            waiting += [one for one in needs if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_extras_are_spelled_in_normalized_form() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["optional-dependencies"]["tasks"]
    strict = _installed(wanted, by_normal_form=False)
    assert _installed(wanted, by_normal_form=True) - strict == set()
    assert "lxml-html-clean" in strict
