"""A worker that was told to ask OpenAI and has no key takes no job: it says what to set, and ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PATIENCE = 60
"""Seconds after which a process that should have ended never will."""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ZEKE_AI": "openai"}, "OPENAI_API_KEY is not set, and ZEKE_AI=openai needs it"),
        ({"ZEKE_EMBEDDINGS": "openai"}, "OPENAI_API_KEY is not set, and ZEKE_EMBEDDINGS=openai needs it"),
        ({"ZEKE_AI": "claude"}, "ZEKE_AI: input should be 'auto', 'openai' or 'stub'"),
    ],
)
def test_a_worker_without_the_key_that_it_needs_does_not_start(
    dsn: str, variables: dict[str, str], said: str
) -> None:
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
            **variables,
        },
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"zeke: {said}")
    assert "Traceback" not in done.stderr
