"""How many seeds each scenario gets: by the bugs that it found, and by the files that a change touches.

``python -m tests.mutants.weights FILE…`` prints the names of the scenarios for ``zeke sim run``, each as
often as its weight, and then the reasons. The weights without a file are those in pyproject.toml.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.mutants.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

FINDS: Final = Path(__file__).with_name("finds.json")
"""Per mutant the scenario that found it, and the seed; ``python -m tests.mutants --record`` writes it."""

SCENARIOS: Final = "tests.scenarios"

SOON: Final = 30
"""Seeds of each scenario in a usual search; a bug that these find needs no more seeds."""

WEIGHT_MAX: Final = 4
"""Maximum weight that each of the two reasons adds."""


class Find(NamedTuple):
    """Where a mutant is found: by which scenario, and from which seed on."""

    scenario: str
    seed: int


def finds() -> dict[str, Find]:
    """Return where each mutant is found."""
    return {name: Find(*found) for name, found in json.loads(FINDS.read_text(encoding="utf-8")).items()}


def record(found: Mapping[str, tuple[str | None, int | None]]) -> None:
    """Record where mutants are found, by the full names of the scenarios."""
    lines = [
        f" {json.dumps(name)}: {json.dumps([scenario.removeprefix(f'{SCENARIOS}.'), seed])}"
        for name, (scenario, seed) in sorted(found.items())
        if scenario is not None
    ]
    FINDS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def weights(found: Mapping[str, Find], files: Collection[str]) -> dict[str, list[str]]:
    """Return for each scenario the reasons why it gets more seeds, each of which counts once."""
    changed = {file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files}
    rare, touched = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for mutant in TABLE:
        if (find := found.get(mutant.name)) is None:
            continue
        if find.seed > SOON:
            rare[find.scenario].append(f"{mutant.name} is found by seed {find.seed}")
        if mutant.module in changed:
            touched[find.scenario].append(f"{mutant.name} is a bug in {mutant.module}, which changed")
    scenarios = sorted({find.scenario for find in found.values()})
    return {name: [*rare[name][:WEIGHT_MAX], *touched[name][:WEIGHT_MAX]] for name in scenarios}


def names(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the arguments of ``zeke sim run``: all scenarios, and some again."""
    again = [f"{SCENARIOS}.{name}" for name, whys in reasons.items() for _ in whys]
    return [SCENARIOS, *again]


def main(files: Sequence[str]) -> None:
    """Print the arguments in one line, and then the reasons."""
    chosen = weights(finds(), files)
    told = [f"{name}, {1 + len(whys)} times: {'; '.join(whys)}" for name, whys in chosen.items() if whys]
    sys.stdout.write("\n".join([" ".join(names(chosen)), *told, ""]))


if __name__ == "__main__":
    main(sys.argv[1:])
