"""The demo as a user runs it: it shows every story, even if a worker is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from tests.tasks.ai.server import OpenAIServer, Said, embeddings, error, response
from zeke_queue.system.clock import SystemClock
from zeke_tasks.demo.children import RESTARTS, Child, ChildKeepsDying, Children
from zeke_tasks.demo.subscriptions import TEAM

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[2]
STORIES = 12
WITH_KEY = {"OPENAI_API_KEY": "sk-any"}
ANALYSIS = json.dumps(
    {
        "why_it_matters": ["It is so."],
        "chili": 4,
        "confidence": 0.8,
        "citations": [{"quote": "so", "url": None}],
    }
)
BRIEFS = json.dumps(
    {
        "one_liner": "The model says so.",
        "two_liner": "It says one thing. And another.",
        "elevator": "It says one thing. And another. And a third.",
    }
)

DEMO = "zeke_tasks.demo"

_WHO_FETCHES = """
    select worker.pid from pgboss.job inner join pgboss.worker on job.worker = worker.id
    where job.name = 'fetch-content' and job.state = 'active'
"""


@asynccontextmanager
async def demo(*options: str, command: str = DEMO, **env: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run the demo; it is ended with the block if it has not ended by then.

    The AI is that of ``env``, regardless of the machine's settings.
    """
    ours = ("OPENAI_", "ZEKE_")
    own = os.environ.items()  # noqa: TID251 - the demo is a user's program, and inherits the user's environment
    inherited = {name: value for name, value in own if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command.split(), *options),
        cwd=ROOT,
        env=inherited | env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


async def _lines(process: asyncio.subprocess.Process) -> AsyncGenerator[str]:
    assert process.stdout is not None
    async for line in process.stdout:
        yield line.decode().rstrip()


async def test_demo_completes_although_a_worker_is_killed() -> None:
    said: list[str] = []
    killing: asyncio.Task[int] | None = None
    async with demo("--gap", "0.2") as process:
        async for line in _lines(process):
            said.append(line)
            if line.startswith("Database "):
                killing = asyncio.create_task(_kill_one_that_fetches(line.removeprefix("Database ")))
        code = await process.wait()
    told = "\n".join(said)
    assert killing is not None, told
    killed = await killing
    assert f"(pid {killed}) was killed by signal 9; started again as pid" in told
    assert code == 0, told
    assert f"Stories ({STORIES})" in told
    assert "No AI reads the stories" in told
    assert f"analyses {STORIES}/{STORIES}, briefs {STORIES}/{STORIES}, jobs 0 running and 0 waiting" in told
    assert told.count("  one line ") == told.count("  two lines ") == STORIES
    assert "code_example: " in told
    assert "The whole brief of " in told
    assert " of reading)" in told
    assert f"Team {TEAM} subscribes to " in told
    assert f" is read for team {TEAM}." in told
    assert "Traceback" not in told
    assert "--keep" in said[-1]


async def _kill_one_that_fetches(dsn: str) -> int:
    """Kill the first worker that runs ``fetch-content``; returns its pid."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(_WHO_FETCHES)).fetchone()
            if row is not None:
                os.kill(row[0], signal.SIGKILL)
                return row[0]
            await SystemClock().sleep(0.01)


class Model(OpenAIServer):
    """A server of models that answer whatever they are asked, all alike."""

    def __init__(self) -> None:
        super().__init__()
        self._script = self

    def popleft(self) -> Said:
        asked = self.asked[-1]
        if asked.path.endswith("/embeddings"):
            return embeddings([1.0] * 1536)
        return response(BRIEFS if "one_liner" in json.dumps(asked.body["text"]) else ANALYSIS)


async def test_demo_with_a_key_uses_a_model_and_reports_its_cost() -> None:
    async with Model() as model, demo("--gap", "0", **WITH_KEY, OPENAI_BASE_URL=model.base_url) as process:
        told = "\n".join([line async for line in _lines(process)])
        code = await process.wait()
    assert code == 0, told
    assert "gpt-5-nano at 127.0.0.1 reads the stories" in told
    assert "chili 4/5" in told
    # Once more where one brief is shown whole.
    assert told.count("The model says so.") == STORIES + 1
    assert told.count("It says one thing. And another. And a third.") == 1
    assert "Analysed by gpt-5-nano-2025-08-07." in told
    assert f"gpt-5-nano-2025-08-07: {2 * STORIES} calls, 28,800 tokens in and 7,200 out, $" in told
    assert f"text-embedding-3-small: {STORIES} calls, " in told
    # The same by team, task and model, and today's budget.
    (row,) = [row for row in map(str.split, told.splitlines()) if row[:2] == ["none", "generate-brief"]]
    assert row[2:6] == ["gpt-5-nano-2025-08-07", f"{STORIES}", "14,400", "3,600"]
    assert "Budgets of " in told


async def test_refused_key_is_reported_with_advice() -> None:
    refused = OpenAIServer(*[error(401, "Incorrect API key provided")] * 100)
    async with refused as server, demo("--gap", "0", **WITH_KEY, OPENAI_BASE_URL=server.base_url) as process:
        told = "\n".join([line async for line in _lines(process)])
        code = await process.wait()
    assert code == 1, told
    assert f"Stories ({STORIES})" in told
    assert "Failed jobs" in told
    assert "the AI does not accept the API key: set OPENAI_API_KEY" in told
    assert "These stories have no brief: " in told
    assert "set ZEKE_AI=stub" in told


@pytest.mark.parametrize(
    ("command", "setting"), [(DEMO, "ZEKE_AI"), ("zeke_queue.cli demo", "ZEKE_EMBEDDINGS")]
)
async def test_without_the_key_that_is_needed_it_is_a_wrong_call_as_of_other_commands(
    command: str, setting: str
) -> None:
    async with demo(command=command, **{setting: "openai"}) as process:
        (told,) = [line async for line in _lines(process)]
        assert await process.wait() == 2
    assert told.startswith("zeke: ")
    assert f"OPENAI_API_KEY is not set, and {setting}=openai needs it" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_with_keep_the_database_stays_up_until_interrupted(number: signal.Signals) -> None:
    async with demo("--workers", "1", "--gap", "0", "--keep") as process:
        dsn = ""
        async for line in _lines(process):
            dsn = line.removeprefix("Database ") if line.startswith("Database ") else dsn
            if line.startswith("The database stays up"):
                break
        counted = await asyncio.to_thread(_count_stories, dsn)
        process.send_signal(number)
        code = await process.wait()
    assert counted == STORIES
    assert code == 0
    with pytest.raises(psycopg.OperationalError):
        await asyncio.to_thread(_count_stories, dsn)


def _count_stories(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from zeke.stories").fetchone()
        assert row is not None
        return row[0]


# Children


async def _ends_itself(children: Children) -> None:
    await asyncio.wait(children._keepers)
    children.check()


async def test_process_that_always_ends_is_abandoned(tmp_path: Path) -> None:
    told: list[str] = []
    child = Child("Worker 1", ["-c", "print('Out of luck'); raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(ChildKeepsDying, match=r"(?s)Worker 1.*Out of luck"):
        async with Children([child], told.append, _Hasty()) as children:
            await _ends_itself(children)
    assert sum("ended with code 3" in line for line in told) == RESTARTS


async def test_children_end_with_their_parent(tmp_path: Path) -> None:
    log = tmp_path / "log"
    waits = Child("Worker 1", ["-c", "import sys; sys.stdin.read()"], log)
    async with Children([waits], lambda line: None, _Hasty()) as children:
        (process,) = children._running.values()
        children.check()
    assert process.returncode == -signal.SIGTERM


async def test_children_end_if_another_does_not_start(tmp_path: Path) -> None:
    waits = Child("Worker 1", ["-c", "import sys; sys.stdin.read()"], tmp_path / "log")
    broken = Child("Worker 2", waits.command, tmp_path / "missing" / "log")
    children = Children([waits, broken], lambda line: None, _Hasty())
    with pytest.raises(FileNotFoundError):
        await children.__aenter__()
    (process,) = children._running.values()
    assert process.returncode == -signal.SIGTERM


async def test_ended_process_is_not_restarted_during_shutdown(tmp_path: Path) -> None:
    told: list[str] = []
    ends = Child("Worker 1", ["-c", ""], tmp_path / "log")
    clock = _Held()
    async with Children([ends], told.append, clock) as children:
        await clock.asleep.wait()
        (first,) = children._running.values()
        # The supervision continues only after the end has begun.
        asyncio.get_running_loop().call_later(0, clock.over.set)
    assert list(children._running.values()) == [first]
    assert [line for line in told if "started again" in line] == []


class _Held(SystemClock):
    """A clock whose sleeps end when the test permits."""

    def __init__(self) -> None:
        self.asleep = asyncio.Event()
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the clock's interface
        self.asleep.set()
        await self.over.wait()


class _Hasty(SystemClock):
    """A clock whose sleeps are over at once."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0 * seconds)
