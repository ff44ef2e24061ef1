"""Which mutants a change may have affected: those whose function, whose tests or that themselves changed.

Beside a part of the mutants, which is another one each time, a landing tries those.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.mutants.patching import Mutant, Tested

T = TypeVar("T")

ROOT: Final = Path(__file__).parents[2]
PLANTED: Final = ("tests/mutants/", "tests/interleaving/mutants_")
"""Where mutants are."""


class Changes(NamedTuple):
    """The new text of all functions that changed, and the added lines alone, by the file's path."""

    functions: Mapping[str, str]
    added: Mapping[str, str]

    def touch(self, one: Tested) -> bool:
        """Return whether a mutant, what it patches, or a test that finds it is among them."""
        return self.touch_mutant(one.mutant) or self.touch_tests(one.tests)

    def touch_mutant(self, mutant: Mutant) -> bool:
        """Return whether a mutant, or what it patches, is among them."""
        place = mutant.module.replace(".", "/")
        return any(
            self.touch_text(mutant.name, path, mutant.old) for path in (f"{place}.py", f"{place}/__init__.py")
        )

    def touch_text(self, name: str, path: str, text: str) -> bool:
        """Return whether the mutant of a name, or the text in a file that it replaces, is among them."""
        planted = "".join(added for file, added in self.added.items() if file.startswith(PLANTED))
        return text.strip() in self.functions.get(path, "") or f'"{name}"' in planted

    def touch_tests(self, tests: Sequence[str]) -> bool:
        """Return whether one of these tests, given as arguments of pytest, is among them."""
        at = tests.index("-k") if "-k" in tests else len(tests)
        words = {*re.findall(r"\w+", " ".join(tests[at + 1 :]))} - {"and", "or", "not"}
        for path in tests[:at]:
            file, *names = path.partition("[")[0].split("::")
            changed = re.findall(r"def (test_\w+)", self.functions.get(file, ""))
            chosen = [name for name in changed if not names or name == names[-1]]
            if any(not words or any(word in name for word in words) for name in chosen):
                return True
        return False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose among mutants."""
    parser.add_argument("--part", type=_part, metavar="K/N", help="only every Nth, from the Kth on")
    parser.add_argument(
        "--since", metavar="COMMIT", help="beside a part, new mutants, and those whose text or tests changed"
    )


def select(every: Sequence[T], given: argparse.Namespace, touch: Callable[[Changes, T], bool]) -> Sequence[T]:
    """Select mutants by the options.

    Args:
        every: the mutants.
        given: the options, as ``add_options`` parses them.
        touch: returns whether changes affect a mutant.
    """
    if given.part is None:
        if given.since:
            raise SystemExit("--since: must be used with --part, which alone leaves mutants out")
        return every
    first, step = given.part
    changes = changes_since(given.since) if given.since else Changes({}, {})
    return [one for at, one in enumerate(every, 1) if at % step == first % step or touch(changes, one)]


def _part(text: str) -> tuple[int, int]:
    """Return which part of how many an option's text means, such as 2/5."""
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, got {text!r}")
    return int(first), int(step)


def changes_since(commit: str) -> Changes:
    """Return what changed between a commit and the files as they are."""
    with tempfile.NamedTemporaryFile("w", suffix=".attributes") as attributes:
        attributes.write("*.py diff=python\n")
        attributes.flush()
        options = [
            "-c",
            f"core.attributesFile={attributes.name}",
            "diff",
            "--function-context",
            "--no-prefix",
        ]
        done = subprocess.run(
            ["git", *options, commit, "--"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    return changes_in(done.stdout)


def changes_in(diff: str) -> Changes:
    """Return the changes of a diff whose hunks are whole functions."""
    functions, added = defaultdict[str, str](str), defaultdict[str, str](str)
    path = ""
    for line in diff.splitlines(keepends=True):
        if line.startswith("+++ "):
            path = line[4:].strip()
        elif line.startswith("diff --git "):
            path = ""
        elif path and line[:1] in ("+", " "):
            functions[path] += line[1:]
            added[path] += line[1:] if line[:1] == "+" else ""
    return Changes(functions, added)
