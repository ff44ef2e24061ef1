"""A failure as a regression test: a module for pytest that replays the plan."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from zeke_sim.report.failure import Failure

INDENT: Final = "    "
WIDTH: Final = 88
"""Line length of the most common formatter."""


def test(failure: Failure) -> str:
    """Write the test module, with the plan inline."""
    of = failure.outcome.plan
    words = re.sub(r"[^a-z0-9]+", "_", f"{of.scenario} {failure.violation.rule}".lower()).strip("_")
    slug = f"{words}_seed_{of.seed}".replace("-", "minus_")
    plan = _literal(json.loads(failure.outcome.plan.dumps()))
    broken = failure.violation
    about = _comment(f"{broken.rule}: {failure.outcome.sentence} It was broken: {broken.text}")
    return (
        f'"""A failure of scenario {_plain(failure.outcome.plan.scenario)} that must not come back."""\n\n'
        "from zeke_sim import replay\n\n"
        f"{about}\nPLAN = {plan}\n\n\n"
        f"def test_{slug}() -> None:\n"
        f'{INDENT}"""Replay the plan and check its properties."""\n'
        f"{INDENT}replay(PLAN).check()\n"
    )


def _plain(text: str) -> str:
    """Remove characters that a docstring cannot contain."""
    return re.sub(r"[^\w .,:-]", "_", text)


def _comment(text: str) -> str:
    """Format a text as a wrapped comment, with line breaks and control characters escaped or as spaces."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    lines, line = list[str](), "#"
    for word in words:
        if len(line) + 1 + len(word) > WIDTH and line != "#":
            lines.append(line)
            line = "#"
        line += " " + word
    return "\n".join([*lines, line])


def _literal(value: object, indent: str = "") -> str:
    """Format JSON values as Python code that formatters do not change."""
    inner = indent + INDENT
    if isinstance(value, Mapping):
        items = [
            f"{inner}{_literal(key)}: {_literal(item, inner)},\n"
            for key, item in cast("Mapping[str, object]", value).items()
        ]
        return f"{{\n{''.join(items)}{indent}}}" if items else "{}"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Sequence):
        items = [f"{inner}{_literal(item, inner)},\n" for item in cast("Sequence[object]", value)]
        return f"[\n{''.join(items)}{indent}]" if items else "[]"
    return repr(value)


def _string(value: str) -> str:
    """Quote a string with double quotes, unless single quotes need fewer escapes."""
    quoted = repr(value)
    if quoted.startswith("'") and value.count('"') <= value.count("'"):
        bare = quoted[1:-1].replace("\\'", "'").replace('"', '\\"')
        return f'"{bare}"'
    return quoted
