"""Check with pyright and mypy what the public API accepts and refuses: ``python -m tests.types``.

Both run in their strict modes: over ``accepted.py`` and the programs of the README, in which they must find
no error, and over ``refused.py``, in which they must find one on each marked line and on no other.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PROGRAMS = ("app.py", "test_app.py")
"""The names under which the README's programs import one another, in its order."""


def lines_of_pyright(folder: Path) -> dict[str, set[int]]:
    """Return the lines on which pyright reports an error, by file."""
    config = {"include": ["."], "strict": ["."], "pythonVersion": "3.11", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = (sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", folder)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: defaultdict[str, set[int]] = defaultdict(set)
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        found[Path(one["file"]).name].add(one["range"]["start"]["line"] + 1)
    return found


def lines_of_mypy(folder: Path) -> dict[str, set[int]]:
    """Return the lines on which mypy reports an error, by file."""
    command = (
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        ROOT / ".mypy_cache",
        ".",
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    found: defaultdict[str, set[int]] = defaultdict(set)
    for name, line in re.findall(r"^(\w+\.py):(\d+): error", done.stdout, re.MULTILINE):
        found[name].add(int(line))
    return found


def main() -> None:
    """Compare; exit with a message that names the lines which differ."""
    readme = (ROOT / "README.md").read_text()
    programs = dict(
        zip(PROGRAMS, re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE), strict=True)
    )
    refused = (HERE / "refused.py").read_text()
    marked = {number for number, line in enumerate(refused.splitlines(), 1) if "# REFUSED" in line}
    expected = {"accepted.py": set[int](), "refused.py": marked, **{name: set[int]() for name in programs}}
    problems: list[str] = []
    with TemporaryDirectory() as made:
        folder = Path(made)
        for name in ("accepted.py", "refused.py"):
            shutil.copy(HERE / name, folder)
        for name, text in programs.items():
            (folder / name).write_text(text)
        for checker, check in (("pyright", lines_of_pyright), ("mypy", lines_of_mypy)):
            found = check(folder)
            for name in sorted(expected.keys() | found.keys()):
                if missed := expected.get(name, set()) - found.get(name, set()):
                    problems.append(f"{checker} accepts {name}: lines {sorted(missed)}")
                if other := found.get(name, set()) - expected.get(name, set()):
                    problems.append(f"{checker} refuses {name}: lines {sorted(other)}")
    if problems:
        raise SystemExit("\n".join(problems))
    print(f"pyright and mypy accept accepted.py and {len(programs)} programs, and refuse {len(marked)} lines")  # noqa: T201


if __name__ == "__main__":
    main()
