"""Check with pyright and mypy what the public API accepts and refuses: ``python -m tests.types``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ACCEPTED, REFUSED = HERE / "accepted.py", HERE / "refused.py"


def lines_of_pyright(file: Path) -> set[int]:
    """Return the lines on which pyright reports an error, in its strict mode."""
    strict = HERE / "pyrightconfig.json"
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(strict),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1 for one in found if Path(one["file"]) == file}


def lines_of_mypy(file: Path) -> set[int]:
    """Return the lines on which mypy reports an error, in its strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    return {int(line) for line in re.findall(rf"{file.name}:(\d+): error", done.stdout)}


def main() -> None:
    """Compare; exit with a message that names the lines which differ."""
    marked = {
        number for number, line in enumerate(REFUSED.read_text().splitlines(), 1) if "# REFUSED" in line
    }
    problems: list[str] = []
    for name, check in (("pyright", lines_of_pyright), ("mypy", lines_of_mypy)):
        if found := check(ACCEPTED):
            problems.append(f"{name} refuses {ACCEPTED.name}: lines {sorted(found)}")
        if missed := marked - (found := check(REFUSED)):
            problems.append(f"{name} accepts {REFUSED.name}: lines {sorted(missed)}")
        if other := found - marked:
            problems.append(f"{name} refuses more of {REFUSED.name}: lines {sorted(other)}")
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"pyright and mypy accept {ACCEPTED.name}, and refuse {len(marked)} lines of {REFUSED.name}")  # noqa: T201


if __name__ == "__main__":
    main()
