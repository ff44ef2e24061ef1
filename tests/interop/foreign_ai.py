"""Briefs by two AIs that others made, of which 40 % of the answers are faulty: llmock and @copilotkit/aimock.

``python -m tests.interop.foreign_ai``, after ``npm ci`` in this folder. Exit code 1 if a brief is missing or
is not the AI's, if an answer that arrived whole was requested again, or if llmock reports a finding.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from llmock.chaos import ChaosSettings
from llmock.scenarios import Reply
from llmock.testing import LLMockServer
from llmock.verdict import judge

from tests.tasks.ai.faulty import BRIEF
from tests.tasks.briefs.rounds import NAMES, brief_all
from zeke_queue.model import JobStatus

if TYPE_CHECKING:
    from collections.abc import Generator

WHOLE: Final = {name: text.format("They") for name, text in BRIEF.items()}
ERRORS: Final = {429: 0.1, 500: 0.1, 502: 0.1, 503: 0.1}
TIMED: Final = {"retry_after_ignored", "no_backoff"}
"""Findings about pauses, which pass in virtual time here."""

TIMEOUT: Final = 5.0


class Asked(NamedTuple):
    """A request that a server answered, with a fault or without one."""

    body: str
    fault: str | None


class Log:
    """What a server answered, and what it says of the client; complete once the server has ended."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[str] = []


@contextmanager
def llmock(log: Log) -> Generator[str]:
    """Serve llmock, whose errors are drawn."""
    with LLMockServer(chaos=ChaosSettings(error_rates=ERRORS)) as server:
        server.state.scenarios.add(Reply(text=json.dumps(WHOLE), times=None))
        yield server.base_url()
        records = server.state.journal.records()
    log.asked = [Asked(json.dumps(one.body), one.fault) for one in records]
    log.faults = [
        f"llmock: {one.title} ({one.advice})" for one in judge(records).findings if one.code not in TIMED
    ]


@contextmanager
def aimock(log: Log) -> Generator[str]:
    """Serve aimock, whose errors, broken bodies and closed connections are drawn."""
    command = ["node", "ai_server.mjs", json.dumps(WHOLE)]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield f"{json.loads(process.stdout.readline())}/v1"
    answered, _ = process.communicate(timeout=60)
    log.asked = [Asked(**one) for one in json.loads(answered)]


async def briefs(url: str) -> list[str]:
    """Generate a brief of each story by the AI at a URL; return what is wrong."""
    # Of 30 jobs with three retries, one may meet four errors in a row.
    jobs, stored = await brief_all(url, TIMEOUT, retries_failed=True)
    faults = [f"{job.id} is {job.status}: {job.output}" for job in jobs if job.status != JobStatus.COMPLETED]
    return faults + [f"the brief of {name} is {brief}" for name, brief in stored.items() if brief != WHOLE]


def main() -> int:
    """Ask both servers for briefs; return the exit code."""
    faults: list[str] = []
    for serve in (llmock, aimock):
        log = Log()
        with serve(log) as url:
            faults += asyncio.run(briefs(url))
        faults += log.faults
        asked = Counter(one.fault or "" for one in log.asked)
        paid = Counter(name for one in log.asked if not one.fault for name in NAMES if name in one.body)
        faults += [f"{name} was requested again after an answer" for name, count in paid.items() if count > 1]
        share = 1 - asked[""] / len(log.asked)
        sys.stdout.write(f"{serve.__name__}: {len(log.asked)} requests, {share:.0%} faulty: {dict(asked)}\n")
        if share < 0.25:
            faults.append(f"{serve.__name__} has answered too well for this test to mean something")
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    sys.stdout.write(f"{len(faults)} faults\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
