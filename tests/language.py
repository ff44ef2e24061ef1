"""The language of texts and names, as rules: each finds the places of a module or a page that break it.

``python -m tests.language`` prints how often each rule is broken, by room, and the places of a named rule.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tests.tidy import ROOT, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Text(NamedTuple):
    """A part of a module: the summary of a function, a docstring, a comment, another string, or a name."""

    kind: str
    text: str
    line: int


class Finding(NamedTuple):
    """A place that breaks a rule."""

    path: str
    line: int
    found: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}"

    @property
    def room(self) -> str:
        """The package and its first level."""
        return "/".join(self.path.split("/")[:2])


ODD_START = re.compile(
    r"\A(?:Let|Have|Has|See|Know|Become|Make sure|(?:Tell|Say) (?:whether|what|which|how)|"
    r"A|An|The|What|Whether|How|Who|After|When|Only|So|As)\b"
)
LET = re.compile(r"\b[Ll]ets?\b|\b[Hh]ave (?:it|them|this|that|what|the \w+) \w+ed\b")
PEOPLE = re.compile(
    r"\b(?:who(?:so)?ever|some(?:body|one)|nobody|any(?:body|one)|every(?:body|one)|theirs|those who)\b",
    re.IGNORECASE,
)
METAPHORS = re.compile(
    r"\b(?:hearts?|crews?|bells?|misfortunes?|scatter(?:s|ed)?|desks?|deeds?|deaf|drowsy|hurry|wellness|"
    r"lanes?|looks(?! (?:up|like|similar|for)\b)|strikes?|struck|in vain|(?:is|are|was|were|be|been) told|"
    r"of late|at hand|for nothing|(?:cannot|can't) say|(?:stands?|stood) still|begins so)\b",
    re.IGNORECASE,
)
NEGATIONS = re.compile(r"\b(?:is|are|was|were) (?:no(?! longer\b| more than\b| less\b)(?: \w+| ?\Z)|none\b)")
ODD_TEST_NAMES = re.compile(
    r"test_(?:an?|the|what|who|whose|nobody|somebody)_\w+|"
    r"test_(?:\w+_)?"
    r"(?:told|tells|lets?|whoever|somebody|nobody|everybody|theirs|who|whom|vain|given_back|says_so)(?:_\w+)?|"
    r"test_\w+_(?:is|are)_no_\w+"
)
# fmt: off
FORMER_NAMES = frozenset({
    "Admission", "Alarm", "AlchemyLink", "Allowance", "Ask", "Bell", "Bells", "CANCEL_PATIENCE",
    "COMES_ALONG", "ChildHost", "Crew", "Desk", "Direct", "Duty", "FADING", "Follower", "Following",
    "Forbidden", "Foretold", "HURRY", "Heart", "Held", "Hindered", "Holdings", "INSISTENCE", "Intake",
    "JobFilter", "JobHost", "JobSource", "Judge", "LANE", "LAST_WORDS", "LOOKS", "Lacking", "Lane", "Lanes",
    "Ledger", "Live", "LocalExecutor", "Looks", "Misfortune", "Notes", "Pace", "Past", "Prepared",
    "ReaderKilled", "Readers", "Refused", "Room", "SLICE", "Showing", "Stage", "Supervisor", "Swept",
    "SyncAlchemyLink", "SyncLink", "Told", "TooOld", "Trial", "Unfit", "Want", "Watchers", "WorkerHost",
    "Worlds", "_beaten", "_comes_along", "_dismiss", "_give_back", "_give_up", "_in_the_way", "_scatter",
    "_scouted", "_sit_out", "_wind_down", "add_key", "admission", "admit", "alchemy_link", "beat", "bell",
    "bring_back", "campaign", "close_session", "crew", "deaf", "declare_queues", "declare_schedules",
    "deed", "desk", "driving", "drop_schedule", "drowsy", "due_schedules", "elision", "errand",
    "facts_lines", "follower", "foreign_cron_age", "freezing", "give_back", "goes_off", "good_keys", "grace",
    "hang", "have_told", "heart", "hit", "hurry", "hush", "in_the_way", "insert_surely", "intake", "is_good",
    "judge", "lane", "lanes", "minds", "misfit", "misfortune", "nobody", "office", "open_session",
    "open_to_look", "overlooked", "people", "perform", "performing", "read_facts", "ring", "rows_to_look_at",
    "sabotage", "seal", "serve_ticks", "slip", "somebody", "spawn", "stall", "strike", "struck",
    "supervisor", "supervisors", "take_down", "tell", "tell_brief", "tell_stories", "tell_story", "telling",
    "tending", "told_elsewhere", "told_fault", "trying", "unseal", "use_key", "verdicts", "wake_parents",
    "watching", "wellness", "whoever", "worker_goes_on",
})
"""Names of zeke_* that words of the field have replaced."""
# fmt: on
PROSE = frozenset({"docstring", "comment"})
TEXTS = PROSE | {"string"}


@cache
def texts_of(source: Source) -> tuple[Text, ...]:
    """Return the texts and names of a module."""
    return tuple(_texts(source))


def _texts(source: Source) -> Iterator[Text]:
    docstrings: set[int] = set()
    for node in ast.walk(source.tree()):
        # A docstring of an attribute is a statement of its own.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings.add(id(node.value))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node)
            # Properties are nouns, fixtures too, and what holds in a simulation is a sentence.
            nouns = re.compile(r"property|fixture|holds")
            if documented and not any(nouns.search(ast.unparse(one)) for one in node.decorator_list):
                yield Text("summary", documented, node.body[0].lineno)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Text("docstring" if id(node) in docstrings else "string", node.value, node.lineno)
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield Text("comment", token.string, token.start[0])
        elif token.type == tokenize.NAME:
            yield Text("name", token.string, token.start[0])


def _find(source: Source, kinds: frozenset[str], pattern: re.Pattern[str]) -> list[Finding]:
    return [
        Finding(source.path, part.line + part.text.count("\n", 0, match.start()), match.group())
        for part in texts_of(source)
        if part.kind in kinds
        for match in pattern.finditer(part.text)
    ]


def _texts_of_the_product(source: Source) -> frozenset[str]:
    """Return the kinds of texts that a rule reads; strings of tests are data."""
    return PROSE if source.path.startswith(("tests/", "benchmarks/", "examples/")) else TEXTS


def summaries_are_imperative(source: Source) -> list[Finding]:
    """The first line of a function's docstring is an imperative that names the effect."""
    return _find(source, frozenset({"summary"}), ODD_START)


def nothing_is_let(source: Source) -> list[Finding]:
    """*Let* and *have … done* hide which component acts."""
    return _find(source, PROSE, LET)


def components_have_names(source: Source) -> list[Finding]:
    """*Whoever*, *nobody* and *theirs* stand for a component that has a name."""
    return _find(source, _texts_of_the_product(source), PEOPLE)


def texts_have_no_metaphors(source: Source) -> list[Finding]:
    """A metaphor has to be explained where the field has a word."""
    return _find(source, _texts_of_the_product(source), METAPHORS)


def errors_name_what_is_needed(source: Source) -> list[Finding]:
    """An error is ``field: must be Y, got Z; remedy``, and not "Z is no Y"."""
    return _find(source, frozenset({"string"}), NEGATIONS)


def names_are_of_the_field(source: Source) -> list[Finding]:
    """A name that was replaced by a word of the field does not come back."""
    return [
        Finding(source.path, part.line, part.text)
        for part in texts_of(source)
        if part.kind == "name" and part.text in FORMER_NAMES
    ]


def names_of_tests_are_plain(source: Source) -> list[Finding]:
    """The name of a test states the behaviour."""
    return [
        Finding(source.path, number, match.group(1))
        for number, line in enumerate(source.text.splitlines(), 1)
        if (match := re.match(r"\s*(?:async )?def (test_\w+)", line))
        and ODD_TEST_NAMES.fullmatch(match.group(1))
    ]


def pages_name_components(source: Source) -> list[Finding]:
    """Pages, statements and scripts name the user, the caller or the component, too."""
    return [
        Finding(source.path, source.text.count("\n", 0, match.start()) + 1, match.group())
        for match in PEOPLE.finditer(source.text)
    ]


PRODUCT = ["zeke_*/**/*.py"]
MODULES = [*PRODUCT, "tests/**/*.py", "benchmarks/**/*.py", "examples/**/*.py", "noxfile.py"]
RULES: list[tuple[Callable[[Source], list[Finding]], list[str]]] = [
    (summaries_are_imperative, PRODUCT),
    (nothing_is_let, MODULES),
    (components_have_names, MODULES),
    (texts_have_no_metaphors, MODULES),
    (errors_name_what_is_needed, PRODUCT),
    (names_are_of_the_field, PRODUCT),
    (names_of_tests_are_plain, ["tests/**/*.py", "docs/*.md", "README.md", "zeke_*/**/*.py"]),
    (
        pages_name_components,
        [
            "docs/*.md",
            "*.md",
            "benchmarks/*.md",
            "zeke_*/**/sql/*.sql",
            "zeke_*/**/static/*.js",
            "clients/js/src/*",
        ],
    ),
]
"""Each rule with the files for which it holds."""

QUOTING = {"language.py", "test_tidy.py"}
"""Modules that quote what the rules refuse."""


def findings(rule: Callable[[Source], list[Finding]], patterns: list[str]) -> list[Finding]:
    """Return all places of the project that break a rule."""
    paths = sorted({path for pattern in patterns for path in ROOT.glob(pattern) if path.name not in QUOTING})
    sources = [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
    return [finding for source in sources for finding in rule(source)]


def report(*names: str) -> str:
    """Return the counts of all rules, or those of the named ones with their findings."""
    lines: list[str] = []
    for rule, patterns in RULES:
        if names and rule.__name__ not in names:
            continue
        found = findings(rule, patterns)
        rooms = Counter(finding.room for finding in found)
        lines.append(f"{rule.__name__}: {len(found)}")
        lines += [f"  {room} {count}" for room, count in rooms.most_common()]
        lines += map(str, found if names else [])
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report(*sys.argv[1:]) + "\n")
