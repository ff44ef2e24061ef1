"""What a command that only sends a job does not have to wait for."""

from __future__ import annotations

import subprocess
import sys


def test_parsers_are_imported_lazily() -> None:
    parsers = {"feedparser", "lxml", "pypdfium2", "trafilatura"}
    script = f"import sys, zeke_tasks.stories.read; print(*{parsers} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
