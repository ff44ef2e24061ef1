"""What a linter cannot check, as tests: sizes, purity, SQL files, documents, and habits that rot a code base.

The rules are in `tidy.py`. The first half shows that each can fail, the second that the project keeps them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import language
from tests.cases import check_each
from tests.tidy import (
    ADR_SECTIONS,
    FUNCTION_LINES,
    GLOSSARY_WORDS,
    MODULE_LINES,
    PRIVATE_READS,
    ROOT,
    Source,
    core_is_pure,
    decision_is_whole,
    environment_is_left_alone,
    examples_compile,
    fragment_is_news,
    functions_are_short,
    glossary_defines_its_words,
    left_out_tests_say_why,
    links_lead_somewhere,
    migrations_are_numbered,
    module_is_short,
    module_says_what_it_is_for,
    no_error_is_swallowed,
    nothing_of_one_machine,
    nothing_sleeps,
    one_statement_a_file,
    parameters_have_names,
    private_attributes_are_not_read,
    reminders_name_an_issue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.nightly

PACKAGES = sorted(path.name for path in ROOT.glob("zeke_*") if path.is_dir())
FOLDERS = [*PACKAGES, "tests", "benchmarks", "clients", "docs", "changelog.d", ".ci"]
TEXT_SUFFIXES = {".py", ".md", ".sql", ".toml", ".txt", ".yaml", ".yml", ".html", ".css", ".json", ""}
TEXT_SUFFIXES |= {".js", ".jsx", ".mjs", ".ts"}
NOT_OURS = {"__pycache__", "node_modules"}

# Every rule can fail, and passes what is right


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * FUNCTION_LINES
SAMPLES = [
    (module_is_short, "x = 1\n" * (MODULE_LINES + 1), "x = 1\n" * MODULE_LINES),
    (functions_are_short, LONG_FUNCTION, "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)),
    (functions_are_short, "class A:\n    async " + LONG_FUNCTION.replace("\n", "\n    "), "x = 1"),
    (module_says_what_it_is_for, "x = 1\n", '"""What for."""\n'),
    (reminders_name_an_issue, "# TO" + "DO: later", "# TO" + "DO(#12): later"),
    (reminders_name_an_issue, "# FIX" + "ME", "# a todo list"),
    (
        no_error_is_swallowed,
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept OSError:\n    pass",
    ),
    (no_error_is_swallowed, "try:\n    f()\nexcept:\n    ...", "try:\n    f()\nexcept Exception:\n    g()"),
    (nothing_sleeps, "time.sleep(1)", "clock.sleep(1)"),
    (nothing_sleeps, "from asyncio import sleep", "from asyncio import timeout"),
    (
        left_out_tests_say_why,
        "@pytest.mark.skip\ndef f(): ...",
        "@pytest.mark.skip(reason='r')\ndef f(): ...",
    ),
    (left_out_tests_say_why, "pytest.mark.xfail(reason='')", "pytest.mark.xfail(reason='#12')"),
    (left_out_tests_say_why, "pytest.skip()", "pytest.skip('no fork on this system')"),
    (left_out_tests_say_why, "pytest.mark.skipif(True)", "pytest.mark.skipif(True, reason='r')"),
    (private_attributes_are_not_read, "storage._rows", "self._rows, cls._made, storage.rows, int.__doc__"),
    (private_attributes_are_not_read, "self.storage._rows = {}", "_rows = {}"),
    (core_is_pure, "import time", "import datetime"),
    (core_is_pure, "def f():\n    from os.path import join", "from zeke_queue import model"),
    (environment_is_left_alone, "import os\nx = os.environ['A']", "import os\nx = os.getpid()"),
    (environment_is_left_alone, "from os import getenv", "from os import getpid"),
    (one_statement_a_file, "select 1; select 2", "-- one; two\nselect ';';\n"),
    (one_statement_a_file, "-- nothing", "select $$a; b$$"),
    (parameters_have_names, "select %s", "select %(a)s::text, 7 %% 2"),
    (parameters_have_names, "select $1", "select '$1 :a ? %s'"),
    (parameters_have_names, "select :a", "select a::int"),
    (parameters_have_names, "select 1 from {table}", "select 1 from {schema}.job limit {limit}"),
    (nothing_of_one_machine, "cd /home/ann/zeke", "GET /homes/1"),
    (nothing_of_one_machine, "see pypi.org", "see PyPI"),
    (
        links_lead_somewhere,
        "[a](nowhere.md)",
        "[a](pyproject.toml), `[b](nowhere.md)`, [c](https://example.org)",
    ),
    (links_lead_somewhere, "# A\n\n[a](#b)", "# A `b` c\n\n[a](#a-b-c)"),
    (examples_compile, "```python\nx = \n```", "```python\nasync with f() as x:\n    await x\n```"),
    (decision_is_whole, "## Context", "\n".join(f"## {name}\n" for name in ADR_SECTIONS)),
]


def test_every_rule_rejects_a_bad_sample_and_accepts_a_good_one() -> None:
    def check(rule: Callable[[Source], list[str]], bad: str, good: str) -> None:
        assert rule(Source("sample", bad))
        assert rule(Source("sample", good)) == []

    check_each({f"{n}-{sample[0].__name__}": sample for n, sample in enumerate(SAMPLES)}, check)


def test_glossary_rule_refuses_gaps_duplicates_and_disorder() -> None:
    whole = "".join(f"## {word}\n\nA word that is defined here.\n\n" for word in GLOSSARY_WORDS)
    assert glossary_defines_its_words(Source("g", whole)) == []
    assert "missing" in glossary_defines_its_words(Source("g", whole.replace("## lease\n", "")))[0]
    assert "no definition" in glossary_defines_its_words(Source("g", whole + "## zone\n\n"))[0]
    assert (
        "twice"
        in glossary_defines_its_words(Source("g", whole + "## tick\n\nA word that is defined again."))[0]
    )
    assert (
        "order"
        in glossary_defines_its_words(Source("g", whole + "## a word\n\nIt comes much too late here."))[0]
    )


def test_fragment_rule_refuses_an_invalid_name_and_half_a_sentence() -> None:
    assert fragment_is_news(Source("changelog.d/2.added.md", "Jobs run.\n")) == []
    assert fragment_is_news(Source("changelog.d/2.2.fixed.md", "Jobs run.\n")) == []
    assert fragment_is_news(Source("changelog.d/queue.md", "Jobs run.\n"))
    assert fragment_is_news(Source("changelog.d/2.added.md", "Jobs\n"))


def test_migration_rule_refuses_gaps_and_unusual_names() -> None:
    assert migrations_are_numbered(["0002_more.sql", "0001_first.sql"]) == []
    assert migrations_are_numbered(["0001_first.sql", "0003_more.sql"])
    assert migrations_are_numbered(["first.sql"])


# The project keeps every rule


def _sources(*patterns: str) -> list[Source]:
    """Return the project's own files; caches and environments stand elsewhere."""
    paths = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(paths)
        if NOT_OURS.isdisjoint(path.relative_to(ROOT).parts)
    ]


def _complaints(rule: Callable[[Source], list[str]], sources: list[Source]) -> list[str]:
    assert sources, f"{rule.__name__} has nothing to look at"
    return [complaint for source in sources for complaint in rule(source)]


SCRIPTS = ["clients/**/*.js", "clients/**/*.ts", "tests/interop/**/*.mjs"]
MODULES = ["noxfile.py", *(f"{folder}/**/*.py" for folder in FOLDERS)]
TESTS = ["tests/**/*.py"]
# Elsewhere handlers and clients sleep in virtual time.
REAL_TIME = [
    str(path.relative_to(ROOT))
    for path in ROOT.glob("tests/**/*.py")
    if path.relative_to(ROOT).parts[1] not in {"scenarios", "newsroom"}
]
PRODUCT = [f"{package}/**/*.py" for package in PACKAGES]
STATEMENTS = [f"{package}/**/sql/**/*.sql" for package in PACKAGES]
PAGES = ["*.md", "docs/**/*.md", "benchmarks/*.md", "clients/**/*.md"]
PROJECT = [
    (module_is_short, MODULES + SCRIPTS),
    (functions_are_short, MODULES),
    (module_says_what_it_is_for, MODULES),
    (reminders_name_an_issue, MODULES + SCRIPTS + STATEMENTS + PAGES),
    (no_error_is_swallowed, MODULES),
    (nothing_sleeps, REAL_TIME),
    (left_out_tests_say_why, TESTS),
    (core_is_pure, ["zeke_queue/core/**/*.py"]),
    (one_statement_a_file, STATEMENTS),
    (parameters_have_names, STATEMENTS),
    (links_lead_somewhere, PAGES),
    (examples_compile, PAGES),
    (glossary_defines_its_words, ["docs/glossary.md"]),
    (decision_is_whole, ["docs/adr/[0-9]*.md"]),
]


def test_project_keeps_every_rule() -> None:
    def check(rule: Callable[[Source], list[str]], patterns: list[str]) -> None:
        assert _complaints(rule, _sources(*patterns)) == []

    check_each({rule.__name__: (rule, patterns) for rule, patterns in PROJECT}, check)


LANGUAGE = {
    "summaries_are_imperative": (
        'def f():\n    """Let it end."""',
        '@property\ndef f():\n    """The end."""',
    ),
    "nothing_is_let": ("# lets others go on", "# others continue"),
    "components_have_names": ("# whoever waits", "# a worker that waits"),
    "texts_have_no_metaphors": ('x = "it stands still"', 'x = "the request is logged"'),
    "errors_name_what_is_needed": ('f"{x!r} is no UUID"', 'f"must be a UUID; it is no longer {x}"'),
    "names_are_of_the_field": ("deed = 1", '"deed"'),
    "names_of_tests_are_plain": (
        "def test_a_caller_is_told_why(): ...",
        "def test_reason_is_returned(): ...",
    ),
    "pages_name_components": ("Nobody waits.", "No job waits."),
}


def test_every_rule_of_language_rejects_a_bad_sample_and_accepts_a_good_one() -> None:
    def check(rule: Callable[[Source], list[language.Finding]], bad: str, good: str) -> None:
        assert rule(Source("sample", bad))
        assert rule(Source("sample", good)) == []

    check_each(
        {rule.__name__: (rule, *LANGUAGE[rule.__name__]) for rule, _ in language.RULES},
        check,
    )


def test_rooms_keep_the_rules_of_language() -> None:
    def check(rule: Callable[[Source], list[language.Finding]], patterns: list[str]) -> None:
        found = language.findings(rule, patterns)
        assert not found, "\n".join(map(str, found))

    check_each({rule.__name__: (rule, patterns) for rule, patterns in language.RULES}, check)


def test_tests_read_few_private_attributes() -> None:
    reads = _complaints(private_attributes_are_not_read, _sources(*TESTS))
    assert len(reads) <= PRIVATE_READS, "\n".join(reads)


def test_only_config_reads_the_environment() -> None:
    others = [source for source in _sources(*PRODUCT) if source.path != "zeke_queue/system/settings.py"]
    assert _complaints(environment_is_left_alone, others) == []


def test_files_name_no_single_machine() -> None:
    sources = [source for source in _text_files() if "tidy" not in source.path]
    assert _complaints(nothing_of_one_machine, sources) == []


def _text_files() -> list[Source]:
    everything = [
        path for folder in (*FOLDERS, ".") for path in (ROOT / folder).glob("*" if folder == "." else "**/*")
    ]
    names = [
        path.relative_to(ROOT).as_posix()
        for path in everything
        if path.is_file() and path.suffix in TEXT_SUFFIXES
    ]
    return _sources(*names)


def test_migrations_follow_each_other() -> None:
    folders = {path.parent for package in PACKAGES for path in ROOT.glob(f"{package}/**/migrations/*.sql")}
    assert folders, "no migrations"
    assert [
        c for folder in folders for c in migrations_are_numbered([p.name for p in folder.glob("*.sql")])
    ] == []


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs/adr/README.md").read_text(encoding="utf-8")
    decisions = sorted(path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [name for name in decisions if f"]({name})" not in listed] == []
    assert [name[:4] for name in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]


def test_changelog_fragments_are_valid() -> None:
    fragments = [source for source in _sources("changelog.d/*") if Path(source.path).name != "README.md"]
    assert [complaint for source in fragments for complaint in fragment_is_news(source)] == []


def test_every_duplicated_rule_names_existing_tests() -> None:
    ledger = (
        (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Ledger")[2].partition("\n## ")[0]
    )
    held_by = re.findall(r"`(tests/[^`]+)`", ledger)
    assert held_by
    assert [path for path in held_by if not (ROOT / path).exists()] == []
