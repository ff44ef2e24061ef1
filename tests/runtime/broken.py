"""A storage in memory that fails on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.runtime.intercepted import Intercepted
from zeke_queue.core.timeouts import STATEMENT_SECONDS
from zeke_queue.errors import StatementTimeoutError, StorageError
from zeke_queue.model import Failed
from zeke_queue.storage.forwarding import Call


class Broken(Intercepted):
    """A storage that fails on some calls, or on settling some rows."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.broken: dict[str, Exception] = {}
        self.bad_rows: set[UUID] = set()
        self.slow_rows: set[UUID] = set()
        self.largest = 1_000
        self.sizes: list[int] = []
        self.asked: Counter[str] = Counter()
        self.before = self.check
        self.jobs = Driver(self.storage, clock)

    def check(self, call: Call) -> None:
        verb = call.verb.removesuffix("_unlocked")
        self.asked[verb] += 1
        if verb in self.broken:
            raise self.broken[verb]
        failed: Sequence[Failed] = call.arguments.get("failed", ())
        if verb == "settle":
            self.sizes.append(len(failed))
            if len(failed) > self.largest or any(job.id in self.slow_rows for job in failed):
                self.jobs.clock.advance(STATEMENT_SECONDS)
                raise StatementTimeoutError("it took too long")
        if any(job.id in self.bad_rows for job in failed):
            raise StorageError("a trigger of the application raised an error")
