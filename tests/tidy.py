"""The rules of the house that no linter knows, each a function from one file to its complaints.

They are separate from `test_tidy.py`, which first tests each rule with a bad sample and a good
one, and then runs all of them over the project.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
MODULE_LINES = 500
FUNCTION_LINES = 70
PRIVATE_READS = 150
"""Reads of private attributes that all tests together may have."""

# fmt: off
IMPURE = frozenset({
    "aiohttp", "anyio", "asyncio", "concurrent", "http", "httpx2", "io", "logging", "multiprocessing",
    "os", "pathlib", "psycopg", "psycopg_pool", "random", "secrets", "select", "selectors", "shutil",
    "signal", "socket", "sqlite3", "structlog", "subprocess", "tempfile", "threading", "time", "urllib",
})
"""Modules that read a clock, draw chance or touch the world; `zeke_queue.core` takes values instead."""

GLOSSARY_WORDS = [
    "archived", "attempt", "claim number", "concurrency limit", "deadline", "debounce", "fence", "lease",
    "purged", "release", "rescue", "retry limit", "singleton key", "slot", "snooze", "throttle", "tick",
    "verdict",
]
# fmt: on
ADR_SECTIONS = ["Context", "Decision", "Alternatives", "Consequences"]


class Source(NamedTuple):
    """One file: its path relative to the project, and its text."""

    path: str
    text: str

    def tree(self) -> ast.Module:
        """Parse the text as Python."""
        return ast.parse(self.text, self.path)


# Rules over Python modules


def module_is_short(source: Source) -> list[str]:
    """A module of more than 500 lines asks to be two."""
    lines = source.text.count("\n")
    return [f"{source.path}: {lines} lines, {MODULE_LINES} at most"] if lines > MODULE_LINES else []


def functions_are_short(source: Source) -> list[str]:
    """A function of more than 70 lines cannot be held in the head."""
    return [
        f"{source.path}:{node.lineno}: {node.name} has {length} lines, {FUNCTION_LINES} at most"
        for node in ast.walk(source.tree())
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def module_says_what_it_is_for(source: Source) -> list[str]:
    """A module starts with a docstring."""
    return [] if ast.get_docstring(source.tree()) else [f"{source.path}: no module docstring"]


def reminders_name_an_issue(source: Source) -> list[str]:
    """A reminder without an issue is a wish; `TO` + `DO(#12)` is a plan."""
    reminder = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b(?!\(#\d+\))")
    return [
        f"{source.path}:{number}: a reminder names no issue"
        for number, line in enumerate(source.text.splitlines(), 1)
        if reminder.search(line)
    ]


def no_error_is_swallowed(source: Source) -> list[str]:
    """`except Exception: pass` hides the bug that will cost a night."""
    return [
        f"{source.path}:{handler.lineno}: every error is caught and none is told"
        for handler in ast.walk(source.tree())
        if isinstance(handler, ast.ExceptHandler)
        and (
            handler.type is None or ast.unparse(handler.type).split(".")[-1] in {"Exception", "BaseException"}
        )
        and all(isinstance(node, ast.Pass) or ast.unparse(node) == "..." for node in handler.body)
    ]


def nothing_sleeps(source: Source) -> list[str]:
    """A test that sleeps is slow on a good day and red on a bad one: wait for an event, or turn the clock.

    In a simulation, asyncio's sleep takes virtual time, so simulated code may.
    """
    simulated = source.path.startswith(("tests/sim/", "tests/workloads.py"))
    sleepers = {"time"} if simulated else {"time", "asyncio", "anyio"}
    return [
        f"{source.path}:{node.lineno}: sleeps"
        for node in ast.walk(source.tree())
        if (isinstance(node, ast.Attribute) and node.attr == "sleep" and ast.unparse(node.value) in sleepers)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module in sleepers
            and any(name.name.startswith("sleep") for name in node.names)
        )
    ]


def private_attributes_are_not_read(source: Source) -> list[str]:
    """A private attribute of another object ties a test to how the code is written; ``PRIVATE_READS`` may."""
    return [
        f"{source.path}:{node.lineno}: {ast.unparse(node)} is private"
        for node in ast.walk(source.tree())
        if isinstance(node, ast.Attribute)
        and re.match("_(?!_)", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    ]


def left_out_tests_say_why(source: Source) -> list[str]:
    """A skip or an expected failure carries its reason, and the reason is not empty."""
    nodes = list(ast.walk(source.tree()))
    calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    return [
        f"{source.path}:{node.lineno}: {ast.unparse(node)} without a reason"
        for node in nodes
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail)", ast.unparse(node))
        and not _gives_reason(calls.get(id(node)))
    ]


def _gives_reason(call: ast.Call | None) -> bool:
    if call is None:
        return False
    reasons = [word.value for word in call.keywords if word.arg == "reason"]
    if "mark" not in ast.unparse(call.func):
        reasons += call.args[:1]
    return any(not isinstance(reason, ast.Constant) or bool(reason.value) for reason in reasons)


def core_is_pure(source: Source) -> list[str]:
    """`zeke_queue.core` decides from its arguments; not even a deferred import may access the outside."""
    return [
        f"{source.path}: imports {name}" for name in _imports(source.tree()) if name.split(".")[0] in IMPURE
    ]


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def environment_is_left_alone(source: Source) -> list[str]:
    """Settings are read from `zeke_queue.system.settings`, which lists all of them."""
    reads = re.compile(r"os\.(?:environ|environb|getenv)")
    return [
        f"{source.path}:{node.lineno}: reads the environment"
        for node in ast.walk(source.tree())
        if (isinstance(node, ast.Attribute) and reads.fullmatch(ast.unparse(node)))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(name.name in {"environ", "environb", "getenv"} for name in node.names)
        )
    ]


# Rules over SQL files


def _bare_sql(text: str) -> str:
    """The statement without comments and string literals, which may hold any character."""
    return re.sub(r"--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'", " ", text, flags=re.DOTALL)


def one_statement_a_file(source: Source) -> list[str]:
    """A statement is found by its file, prepared by its file and explained by its file."""
    statements = [part for part in _bare_sql(source.text).split(";") if part.strip()]
    return [] if len(statements) == 1 else [f"{source.path}: {len(statements)} statements, not one"]


def parameters_have_names(source: Source) -> list[str]:
    """`%(name)s` carries values; `{schema}` and `{limit}` are the only other places that are filled in."""
    foreign = re.compile(r"(?<!%)%(?!\(\w+\)s|%)|\$\d|(?<!:):[a-z_]\w*|\{(?!schema\}|limit\})")
    return [
        f"{source.path}: {found.group()!r} is no %(name)s"
        for found in foreign.finditer(_bare_sql(source.text))
    ]


def migrations_are_numbered(names: list[str]) -> list[str]:
    """Migrations are NNNN_what_they_do.sql, from 0001 without a gap."""
    complaints = [
        f"{name}: not NNNN_name.sql" for name in names if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", name)
    ]
    numbers = [name[:4] for name in sorted(names)]
    expected = [f"{number:04}" for number in range(1, len(names) + 1)]
    return complaints or (
        [] if numbers == expected else [f"migrations are numbered {numbers}, not {expected}"]
    )


# Rules over documents


def nothing_of_one_machine(source: Source) -> list[str]:
    """Homes and registries belong to one machine; the project names neither."""
    hosts = ["pypi.org", "pythonhosted", "npmjs.", "deb.debian"]
    local = re.compile(r"(?<![\w.])/(?:home|Users)/\w|(?<![\w.])/root\b|" + "|".join(map(re.escape, hosts)))
    return [
        f"{source.path}:{number}: {found.group()!r} belongs to one machine"
        for number, line in enumerate(source.text.splitlines(), 1)
        if (found := local.search(line))
    ]


def links_lead_somewhere(source: Source) -> list[str]:
    """A relative link of a page names a file that is there, and a heading of it."""
    complaints: list[str] = []
    here = ROOT / source.path
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", source.text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        page = here.parent / name if name else here
        # What is linked to without a heading may be no text: a picture.
        text = source.text if not name else page.read_text() if anchor and page.is_file() else ""
        if name and not page.exists():
            complaints.append(f"{source.path}: {target} is not there")
        elif anchor and anchor not in _anchors(text):
            complaints.append(f"{source.path}: {target} has no such heading")
    return complaints


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def examples_compile(source: Source) -> list[str]:
    """A Python block of a page is Python, top-level await allowed as in the interactive interpreter."""
    complaints: list[str] = []
    for block in re.findall(r"^```python\n(.*?)^```", source.text, re.MULTILINE | re.DOTALL):
        try:
            compile(block, source.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            complaints.append(f"{source.path}: {error.msg} in {error.text!r}")
    return complaints


def glossary_defines_its_words(source: Source) -> list[str]:
    """Each heading of the glossary is one word, in order, once, with a definition below it."""
    entries = re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", source.text, re.MULTILINE | re.DOTALL)
    words = [word for word, _ in entries]
    return [
        *(f"{source.path}: {word!r} has no definition" for word, body in entries if len(body.split()) < 5),
        *(f"{source.path}: {word!r} stands twice" for word, times in Counter(words).items() if times > 1),
        *(f"{source.path}: {word!r} is missing" for word in GLOSSARY_WORDS if word not in words),
        *([] if words == sorted(words, key=str.casefold) else [f"{source.path}: the words are not in order"]),
    ]


def decision_is_whole(source: Source) -> list[str]:
    """A decision has context, decision, alternatives and consequences."""
    headings = re.findall(r"^## (.+)$", source.text, re.MULTILINE)
    return [f"{source.path}: no section {name!r}" for name in ADR_SECTIONS if name not in headings]


def fragment_is_news(source: Source) -> list[str]:
    """A changelog fragment is ISSUE.TYPE.md and holds whole sentences."""
    complaints: list[str] = []
    if not re.fullmatch(r"\d+(?:\.\d+)?\.(?:added|changed|fixed|removed)\.md", Path(source.path).name):
        complaints.append(f"{source.path}: not ISSUE.added|changed|fixed|removed.md")
    if not source.text.strip().endswith("."):
        complaints.append(f"{source.path}: no whole sentence")
    return complaints
