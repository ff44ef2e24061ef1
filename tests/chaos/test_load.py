"""The load: each task has a backlog of its own, which does not grow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import UUID

from tests.chaos.executions import BEGAN, RETURNED, ExecutionLog, Tail
from tests.chaos.load import AHEAD, BATCH, Load
from tests.chaos.tasks import make_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock


async def test_as_many_jobs_of_each_task_are_sent_as_have_ended(tmp_path: Path) -> None:
    log = ExecutionLog(tmp_path / "w1")
    queue = Queue(make_catalog(None), MemoryStorage(SystemClock()))
    load = Load(queue, "", "", [Tail(tmp_path / "w1", "w1")])
    sent = load.next_batch()
    assert Counter(sent.values()) == AHEAD
    await load.send(sent)
    assert load.next_batch() == {}
    plain = [job for job, task in sent.items() if task == "plain"]
    for number in range(BATCH):
        for attempt in (1, 2):
            log.append(BEGAN, "plain", plain[number], attempt)
            log.append(RETURNED, "plain", plain[number], attempt)
        log.append(RETURNED, "child", UUID(int=number), 1)
    log.append(RETURNED, "limited", next(job for job, task in sent.items() if task == "limited"), 1)
    load.read()
    assert Counter(load.next_batch().values()) == {"plain": BATCH, "limited": 1}
