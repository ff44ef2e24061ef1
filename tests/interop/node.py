"""The program with pg-boss 9 of ``pgboss9/node.mjs``, driven line by line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from types import TracebackType

HERE = Path(__file__).parent / "pgboss9"


class Node:
    """A running Node process with pg-boss 9.0.3, which works on the named queues."""

    def __init__(self, dsn: str, *queues: str) -> None:
        environment = {**os.environ, "ZEKE_DATABASE": json.dumps(conninfo_to_dict(dsn))}  # noqa: TID251 - Node is found by the machine's PATH
        self._process = subprocess.Popen(
            ["node", "node.mjs", *queues],
            cwd=HERE,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def ask(self, command: str) -> Any:
        """Carry out a command of the program, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the program with pg-boss 9 has ended"
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate("end\n" if error is None else None, timeout=60)
