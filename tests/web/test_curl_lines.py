"""The lines of curl on the page of the HTTP API, as its readers run them on what ``zeke up`` serves.

All of them run in one shell, in order. The text below a line on the page is its output,
where ``…`` stands for anything. It needs curl itself, and fails without it: another client would show
something else.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tidy import ROOT

pytestmark = pytest.mark.needs("curl")

PAGE = (ROOT / "docs/http.md").read_text(encoding="utf-8")
BASE = "http://localhost:3003"
ZEKE = f"{sys.executable} -m zeke_queue.cli"


class Line(NamedTuple):
    """A command, and its output; None if the page does not show it."""

    command: str
    prints: str | None


def lines() -> list[Line]:
    """Return the commands of the page's shell blocks, except those that install and serve."""
    found: list[Line] = []
    for language, block in re.findall(r"```(bash|console)\n(.*?)```", PAGE, re.DOTALL):
        if language == "bash":
            found.append(Line(block.strip(), None))
            continue
        for typed in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, prints = typed.rstrip("\n").partition("\n")
            found.append(Line(command, prints or None))
    return [line for line in found if not line.command.startswith(("python -m pip", "zeke up"))]


def pattern(prints: str) -> re.Pattern[str]:
    """Return what a command's output has to match: ``…`` is anything, and a line of it alone any lines."""
    return re.compile(".*?".join(re.escape(part) for part in prints.split("…")), re.DOTALL)


@pytest.fixture
def place(dsn: str, tmp_path: Path) -> dict[str, str]:
    """Make an environment with the page's ``app.py``, and with nothing of this machine's."""
    (program, *_) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "app.py").write_text(program, encoding="utf-8")
    path = "/usr/local/bin:/usr/bin:/bin"
    return {"DATABASE_PRIMARY_URL": dsn, "PYTHONPATH": str(ROOT), "PATH": path, "LOG_FORMAT": "json"}


@pytest.fixture
def served(place: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Where ``zeke up`` serves."""
    command = [*ZEKE.split(), "up", "--app", "app:catalog", "--port", "0"]
    with (tmp_path / "log").open("wb") as log:
        serving = subprocess.Popen(
            command, cwd=tmp_path, env=place, stdout=log, stderr=subprocess.PIPE, text=True
        )
    try:
        assert serving.stderr is not None
        url = ""
        for said in serving.stderr:
            entry = json.loads(said)
            if entry["message"] == "api_listening":
                url = entry["url"]
                break
        assert url, "it did not start"
        yield url
    finally:
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=60)
    assert serving.returncode == 0


def script(url: str, folder: Path) -> str:
    """Return all lines as one script, which writes output and exit code of each to files of their own.

    The address is the test's, the database that of ``place``, and ``{jobId}`` is replaced as a reader would.
    """
    said = [f'zeke() {{ {ZEKE} "$@"; }}', f'python3() {{ {sys.executable} "$@"; }}', "set -o pipefail"]
    for number, line in enumerate(lines()):
        own = line.command.replace(BASE, url).replace(" --embedded", "").replace("{jobId}", "$RUN")
        # In braces, not in a subshell, so that later lines have its variables.
        said.append(
            f"{{ {own}\n}} >{folder}/{number}.out 2>{folder}/{number}.err; echo $? >{folder}/{number}.rc"
        )
    return "\n".join(said)


def test_commands_of_the_page_print_the_documented_output(
    served: str, place: dict[str, str], tmp_path: Path
) -> None:
    typed = lines()
    assert sum("curl" in line.command for line in typed) > 20
    subprocess.run(["bash", "-c", script(served, tmp_path)], cwd=tmp_path, env=place, check=True, timeout=120)
    for number, line in enumerate(typed):
        code, printed, complaints = (
            (tmp_path / f"{number}.{kind}").read_text(encoding="utf-8") for kind in ("rc", "out", "err")
        )
        assert code == "0\n", f"{line.command}\n{complaints}"
        printed = printed.replace("\r\n", "\n").strip()
        if line.prints is not None:
            assert pattern(line.prints).fullmatch(printed), f"{line.command}\n{printed}"
        elif line.command.startswith("curl"):
            assert '"error"' not in printed, f"{line.command}\n{printed}"
            assert printed, line.command


def test_required_lines_are_on_the_page() -> None:
    """But for the id, which is a UUID here, as the task's model asks for."""
    blocks = [
        block
        for language, block in re.findall(r"```(bash|console)\n(.*?)```", PAGE, re.DOTALL)
        if language == "bash"
    ]
    typed = [
        re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", block, flags=re.MULTILINE)).strip()
        for block in blocks
    ]
    item = "123e4567-e89b-12d3-a456-426614174000"
    body = json.dumps({"taskId": "my-task", "payload": {"itemId": item}})
    key, kind = '-H "Authorization: Bearer $TOKEN"', '-H "Content-Type: application/json"'
    assert typed == [
        f"curl -X POST {BASE}/trigger {key} {kind} -d '{body}'",
        f'curl {BASE}/jobs/stream/{{jobId}} {key} -H "Accept: text/event-stream"',
        f"curl {BASE}/trigger/runs/{{jobId}} {key}",
    ]
