"""A worker that should use OpenAI and has no key claims no job: it names the setting, and ends."""

from __future__ import annotations

import os
import subprocess
import sys

PATIENCE = 60
"""Seconds after which a process that should have ended never will."""


def test_worker_without_the_key_that_it_needs_does_not_start(dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "zeke_queue.cli", "worker", "--app", "zeke_tasks.catalog:catalog"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATABASE_PRIMARY_URL": dsn,
            "ZEKE_AI": "openai",
        },
    )
    assert done.returncode == 2, done.stderr
    reason = "zeke: OPENAI_API_KEY is not set, and ZEKE_AI=openai needs it"
    assert done.stderr.splitlines()[-1].startswith(reason)
    assert "Traceback" not in done.stderr
