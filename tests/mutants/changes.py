"""Which mutants a change may have affected: those whose function, whose tests or that themselves changed."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.mutants.patching import Tested

ROOT: Final = Path(__file__).parents[2]


class Changes(NamedTuple):
    """The new text of all functions that changed, and the added lines alone, by the file's path."""

    functions: Mapping[str, str]
    added: Mapping[str, str]

    def touch(self, one: Tested) -> bool:
        """Return whether a mutant, what it patches, or a test that finds it is among them."""
        mutant = one.mutant
        place = mutant.module.replace(".", "/")
        patched = self.functions.get(f"{place}.py", "") + self.functions.get(f"{place}/__init__.py", "")
        planted = "".join(text for path, text in self.added.items() if path.startswith("tests/mutants/"))
        return mutant.old.strip() in patched or f'"{mutant.name}"' in planted or self._touch_tests(one.tests)

    def _touch_tests(self, tests: tuple[str, ...]) -> bool:
        at = tests.index("-k") if "-k" in tests else len(tests)
        words = {*re.findall(r"\w+", " ".join(tests[at + 1 :]))} - {"and", "or", "not"}
        for path in tests[:at]:
            file, *names = path.partition("[")[0].split("::")
            changed = re.findall(r"def (test_\w+)", self.functions.get(file, ""))
            chosen = [name for name in changed if not names or name == names[-1]]
            if any(not words or any(word in name for word in words) for name in chosen):
                return True
        return False


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
