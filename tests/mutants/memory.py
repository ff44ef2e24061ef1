"""Mutants of the memory storage that are about one row: inserting, claiming, settling, releasing."""

from __future__ import annotations

from tests.mutants.patching import Mutant

ROWS = "zeke_queue.storage.memory.rows"
CLAIMS = "zeke_queue.storage.memory.claims"
TRANSITIONS = "zeke_queue.storage.memory.transitions"
STORE = "zeke_queue.storage.memory.store"
TABLES = "zeke_queue.storage.memory.tables"
UNIQUENESS = "zeke_queue.storage.memory.uniqueness"

MUTANTS = (
    Mutant(
        "delay-dropped",
        ROWS,
        "else now + timedelta(seconds=job.delay)\n",
        "else now\n",
        "A job that was sent with a delay may start at once.",
    ),
    Mutant(
        "start-after-ignored",
        CLAIMS,
        "        if self._now is not None and row.start_after <= self._now:\n",
        "        if self._now is not None:\n",
        "A job is claimed before it may start.",
    ),
    Mutant(
        "debounced-before-its-slot",
        ROWS,
        "        if job.slot_offset > 0:\n",
        "        if job.slot_offset < 0:\n",
        "The second try of a debounced send starts before its slot.",
        where=("unique",),
    ),
    Mutant(
        "claims-count-as-retries",
        ROWS,
        "        if self.state is RowState.RETRY:\n",
        "        if self.attempt:\n",
        "A job that was snoozed or released loses a retry when it is claimed again.",
    ),
    Mutant(
        "snoozes-use-retries-up",
        ROWS,
        "        if self.state is RowState.RETRY:\n",
        "        if self.attempt and self.retry_count < self.retry_limit:\n",
        "A snooze uses a retry as long as there is one.",
    ),
    Mutant(
        "retries-never-counted",
        ROWS,
        "            self.retry_count += 1\n",
        "            self.retry_count = max(self.retry_count, 1)\n",
        "The second retry and all that follow count as the first, so that there is no last one.",
    ),
    Mutant(
        "attempt-not-counted",
        ROWS,
        "        self.attempt += 1\n",
        "        self.attempt = self.attempt or 1\n",
        "Every claim of a job has the same number, so that late settlements are not fenced.",
    ),
    Mutant(
        "attempt-counted-twice",
        ROWS,
        "        self.attempt += 1\n",
        "        self.attempt += 1 + bool(self.attempt)\n",
        "A job's second attempt has the number of the third.",
    ),
    Mutant(
        "only-the-last-failure-kept",
        ROWS,
        "        self.history = (*self.history, attempt)[-HISTORY_KEPT:]\n",
        "        self.history = (attempt,)\n",
        "Of several attempts that failed a job's history has the last one.",
    ),
    Mutant(
        "start-kept-across-retries",
        ROWS,
        "        self.started_on, self.completed_on, self.worker = now, None, worker\n",
        "        self.started_on, self.completed_on, self.worker = self.started_on or now, None, worker\n",
        "The second attempt's time runs from the start of the first.",
    ),
    Mutant(
        "time-runs-while-it-waits",
        ROWS,
        "        self.started_on, self.completed_on, self.worker = now, None, worker\n",
        "        self.started_on, self.completed_on, self.worker = self.start_after, None, worker\n",
        "An attempt's time runs from when its job was due, and not from its claim.",
    ),
    Mutant(
        "brought-back-still-ended",
        ROWS,
        "        self.completed_on, self.worker, self.waits_for = None, None, None\n",
        "        self.worker, self.waits_for = None, None\n",
        "A requeued job keeps the time of its end.",
    ),
    Mutant(
        "extended-from-the-start",
        ROWS,
        "        self.expire_in = now - (self.started_on or now) + timedelta(seconds=seconds)\n",
        "        self.expire_in = timedelta(seconds=seconds)\n",
        "An extended deadline counts from the attempt's start, and not from now.",
    ),
    Mutant(
        "extensions-add-up",
        ROWS,
        "        self.expire_in = now - (self.started_on or now) + timedelta(seconds=seconds)\n",
        "        self.expire_in += timedelta(seconds=seconds)\n",
        "An extended deadline counts from the one before, and not from now.",
    ),
    Mutant(
        "extension-begins-anew",
        ROWS,
        "        self.expire_in = now - (self.started_on or now) + timedelta(seconds=seconds)\n",
        "        self.started_on, self.expire_in = now, timedelta(seconds=seconds)\n",
        "An attempt that extends its deadline counts as restarted.",
    ),
    Mutant(
        "extension-only-acknowledged",
        TRANSITIONS,
        "        row.extend(now, seconds)\n",
        "",
        "An extension is acknowledged, but not stored.",
    ),
    Mutant(
        "failure-not-kept",
        TRANSITIONS,
        "        row.remember(RowState.RETRY, error, now)\n",
        "",
        "An attempt that failed and is retried is missing in the job's history.",
    ),
    Mutant(
        "last-in-first-out",
        CLAIMS,
        "            entry = self._due[0]\n"
        "            if _stands(entry, jobs):\n"
        "                return entry\n"
        "            heappop(self._due)\n"
        "        return None\n"
        "\n"
        "    def take(self) -> Entry:\n"
        '        """Remove the head and return it."""\n'
        "        return heappop(self._due)\n",
        "            self._due.sort(key=lambda entry: (entry[0], -entry[1].timestamp()))\n"
        "            entry = self._due[0]\n"
        "            if _stands(entry, jobs):\n"
        "                return entry\n"
        "            self._due.pop(0)\n"
        "        return None\n"
        "\n"
        "    def take(self) -> Entry:\n"
        "        return self._due.pop(0)\n",
        "Of two jobs of one priority the later one is claimed first.",
    ),
    Mutant(
        "priority-ignored",
        CLAIMS,
        "        entry = (-row.priority, row.start_after, row.id.int, row.id)\n",
        "        entry = (0, row.start_after, row.id.int, row.id)\n",
        "Jobs are claimed by their time alone.",
        where=("storm",),
    ),
    Mutant(
        "priority-per-queue-only",
        CLAIMS,
        "            heads.append((entry, number, line, room, pool))\n",
        "            heads.append(((0, *entry[1:]), number, line, room, pool))\n",
        "Over several queues jobs are claimed by their time alone.",
        where=("storm",),
    ),
    Mutant(
        "one-comes-due-at-a-time",
        CLAIMS,
        "        while self._later and self._later[0][0] <= now:\n",
        "        if self._later and self._later[0][0] <= now:\n",
        "Of several jobs that became due a claim sees only the first.",
        where=("limits",),
    ),
    Mutant(
        "told-out-of-order",
        STORE,
        "        return claimed\n",
        "        claimed.sort(key=lambda job: job.id)\n        return claimed\n",
        "A claim's answer is in the order of ids.",
    ),
    Mutant(
        "pause-ignored",
        TABLES,
        "        if settings.paused_on is not None:\n            return 0\n",
        "",
        "The jobs of a paused queue are claimed.",
        where=("storm",),
    ),
    Mutant(
        "limit-off-by-one",
        TABLES,
        "        return (settings.concurrency_limit if first is None else first) - sum(\n",
        "        return (settings.concurrency_limit if first is None else first) + 1 - sum(\n",
        "A queue has one active job more than its limit.",
    ),
    Mutant(
        "limit-counts-one-queue",
        TABLES,
        "        counted = {name, *settings.limited_with}\n",
        "        counted = {name}\n",
        "A task with aliases runs as many jobs of each name as its limit.",
        where=("limits",),
    ),
    Mutant(
        "pools-are-of-one-queue",
        STORE,
        "pools[pool]\n",
        "Pool()\n",
        "One claim takes more jobs of queues that share a limit than there is room for.",
        where=("limits",),
    ),
    Mutant(
        "limit-forgets-retried",
        TABLES,
        "            self.counts[one].get(RowState.ACTIVE, 0) for one in counted if one in self.counts\n",
        "            row.name in counted and not row.retry_count for row in self.active.values()\n",
        "Jobs that run for another time don't count for their queue's limit.",
    ),
    Mutant(
        "limit-not-within-a-claim",
        STORE,
        "                yield line, free if room is None else min(free, room), ",
        "                yield line, free, ",
        "One claim takes more jobs of a queue than there is room for.",
        where=("limits",),
    ),
    Mutant(
        "claim-reads-then-writes",
        STORE,
        "        for chosen in choose(lines, self._tables.jobs, limit, self._passed, bytes_max):\n",
        "        found = choose(lines, self._tables.jobs, limit, self._passed, bytes_max)\n"
        "        read_at, read = getattr(self, '_read', (now, []))\n"
        "        self._read = now, found\n"
        "        if abs(now - read_at) < timedelta(milliseconds=5):\n"
        "            names = {name for name, _ in capacity}\n"
        "            again = [row for row in read if row.name in names and row.id in self._tables.jobs]\n"
        "            for row in found:\n"
        "                self._tables.lines[row.name].add(row)\n"
        "            found = [*again, *(row for row in found if row not in again)][:limit]\n"
        "        for chosen in found:\n",
        "Two claims within a moment read the same jobs as due, and each marks them as its own.",
    ),
    Mutant(
        "retried-job-not-lined-up",
        TABLES,
        "        if row.waits:\n",
        "        if row.state is RowState.CREATED:\n",
        "A job that waits for its retry is never claimed.",
    ),
    Mutant(
        "singleton-forgets-retry",
        UNIQUENESS,
        "    return hold is not None and RANK[state] < hold.until\n",
        "    return hold is not None and RANK[state] < hold.until and state is not RowState.RETRY\n",
        "A job that waits for its retry does not keep its singleton key.",
    ),
    Mutant(
        "singleton-free-while-active",
        UNIQUENESS,
        "if key.startswith(_SINGLETON_QUEUE) else RowState.COMPLETED\n",
        "if key else RowState.COMPLETED\n",
        "A job that runs does not keep its singleton key.",
        where=("unique",),
    ),
    Mutant(
        "completed-frees-its-slot",
        UNIQUENESS,
        "        return Hold(RANK[RowState.EXPIRED], name, slot, key)\n",
        "        return Hold(RANK[RowState.COMPLETED], name, slot, key)\n",
        "A second job is let into a throttle slot whose job has completed.",
        where=("unique",),
    ),
    Mutant(
        "failed-keeps-its-slot",
        UNIQUENESS,
        "        return Hold(RANK[RowState.EXPIRED], name, slot, key)\n",
        "        return Hold(len(RANK), name, slot, key)\n",
        "A job that failed, expired or was cancelled keeps its throttle slot from others.",
        where=("unique",),
    ),
    Mutant(
        "new-job-ousts-the-holder",
        TRANSITIONS,
        "        if not scope.known(row.id) and _conflict_of(scope, row, row.state) is None:\n",
        "        if scope.known(row.id):\n"
        "            continue\n"
        "        other = _conflict_of(scope, row, row.state)\n"
        "        holder = None if other is None or scope.owner else scope.row(other)\n"
        "        if holder is not None and holder.waits:\n"
        "            holder = scope.change(holder)\n"
        "            holder.end(RowState.CANCELLED, row.created_on)\n"
        "            scope.store(holder, row.created_on)\n"
        "            other = None\n"
        "        if other is None:\n",
        "A send with the key or slot of a waiting job cancels that job.",
        where=("unique",),
    ),
    Mutant(
        "insert-replaces",
        TRANSITIONS,
        "        if not scope.known(row.id) and _conflict_of",
        "        if _conflict_of",
        "A repeated insert resets the job.",
    ),
    Mutant(
        "insert-forgets-archived",
        TRANSITIONS,
        "        if not scope.known(row.id) and _conflict_of",
        "        bound = row.parent is not None or row.retry_limit == 1\n"
        "        if not (scope.known(row.id) if bound else scope.row(row.id)) and _conflict_of",
        "A job is sent again under the id of one that is archived, unless it has a parent or one retry.",
        where=("deploy",),
    ),
    Mutant(
        "complete-without-fence",
        TRANSITIONS,
        "        if row is None or row.attempt != outcome.attempt:\n            continue\n        state",
        "        if row is None:\n            continue\n        state",
        "A worker that lost a job completes it, though another worker runs it by now.",
        where=("transactions",),
    ),
    Mutant(
        "repeated-completion-not-known",
        TRANSITIONS,
        "        elif repeated and row.state is RowState.COMPLETED and row.output == output:\n",
        "        elif repeated and row.state is RowState.COMPLETED and row.output != output:\n",
        "A completion that is repeated because its answer was lost counts as too late.",
    ),
    Mutant(
        "repeated-failure-not-known",
        TRANSITIONS,
        "    return row.state is state and row.output == error\n",
        "    return row.state is state and row.output != error\n",
        "A failure that is repeated because its answer was lost counts as too late.",
    ),
    Mutant(
        "repeated-lines-stored-again",
        STORE,
        "            if event.number in self._tables.numbers:\n",
        "            if event.number is None and event.number in self._tables.numbers:\n",
        "Lines whose write is repeated, because its answer was lost, are stored and read twice.",
        where=("watch",),
    ),
    Mutant(
        "late-lines-of-the-current-attempt",
        STORE,
        "            numbered = replace(event, seq=self._tables.event_seq)\n",
        "            job = self._tables.jobs.get(event.job_id)\n"
        "            attempt = event.attempt if job is None else job.attempt\n"
        "            numbered = replace(event, seq=self._tables.event_seq, attempt=attempt)\n",
        "Lines of a lost attempt that come late are read as those of the attempt that runs by then.",
    ),
    Mutant(
        "failure-without-fence",
        TRANSITIONS,
        "        if row is None or row.attempt != outcome.attempt:\n"
        "            continue\n"
        "        if row.state",
        "        if row is None:\n            continue\n        if row.state",
        "A worker that lost a job fails or releases it, though another worker runs it by now.",
        where=("transactions",),
    ),
    Mutant(
        "complete-without-state-check",
        TRANSITIONS,
        "        state = TRANSITIONS.get((row.state, Event.COMPLETE))\n",
        "        state = RowState.COMPLETED\n",
        "A cancelled or released job is completed by its former worker.",
    ),
    Mutant(
        "expired-stored-as-failed",
        TRANSITIONS,
        "        row.end(outcome.final, now)\n",
        "        row.end(RowState.FAILED, now)\n",
        "A job that expired permanently is stored as failed.",
    ),
    Mutant(
        "retry-without-delay",
        TRANSITIONS,
        "        row.wait(RowState.RETRY, now, outcome.retry_in)\n",
        "        row.wait(RowState.RETRY, now)\n",
        "A job is retried at once, regardless of its delay.",
    ),
    Mutant(
        "snooze-without-delay",
        TRANSITIONS,
        "        row.wait(state, now, outcome.delay)\n",
        "        row.wait(state, now)\n",
        "A snoozed job is due again at once.",
    ),
    Mutant(
        "cancel-only-acknowledged",
        TRANSITIONS,
        "(state := TRANSITIONS.get((row.state, Event.CANCEL))) is not None:\n",
        "(state := TRANSITIONS.get((row.state, Event.CANCEL))) is not None:\n"
        "            if row.state is RowState.ACTIVE:\n"
        "                changed.add(job_id)\n"
        "                continue\n",
        "The cancellation of a running job is acknowledged, but not stored.",
    ),
    Mutant(
        "brought-back-beside-the-holder",
        TRANSITIONS,
        "        if row is None or state is None or _conflict_of(scope, row, state) is not None:\n",
        "        if row is None or state is None:\n",
        "A job is requeued by a user although another has its singleton key or slot.",
        where=("unique",),
    ),
    Mutant(
        "revived-without-room",
        TRANSITIONS,
        "            row.retry_limit = max(row.retry_limit, row.retry_count + 1)\n",
        "            row.retry_limit = max(row.retry_limit, 1)\n",
        "A job that is retried by hand uses more retries than it has.",
    ),
    Mutant(
        "retry-by-hand-takes-retries",
        TRANSITIONS,
        "            row.retry_limit = max(row.retry_limit, row.retry_count + 1)\n",
        "            row.retry_limit = row.retry_count + 1\n",
        "A job that is retried by hand has one retry left, however many it had.",
        where=("watch",),
    ),
    Mutant(
        "output-not-written",
        TRANSITIONS,
        "            row.output = output\n",
        "            row.output = row.output or output\n",
        "A job that failed once and then completed has the error as its output.",
    ),
    Mutant(
        "leases-end-in-an-outage",
        TRANSITIONS,
        "ended and (info is None or timedelta(seconds=info.lease) < self._uptime)",
        "ended",
        "After an outage jobs are rescued before their workers could renew their leases.",
        where=("retries",),
    ),
    Mutant(
        "expires-from-creation",
        TRANSITIONS,
        "        deadline = row.started_on + min(",
        "        deadline = row.created_on + min(",
        "An attempt's time runs from when the job was sent.",
    ),
    Mutant(
        "expires-early",
        TRANSITIONS,
        "        if (deadline < now or row.worker in dead)",
        "        if (deadline < now + row.expire_in / 4 or row.worker in dead)",
        "An attempt is taken for overdue when a quarter of its time is left.",
    ),
    Mutant(
        "dead-workers-unnoticed",
        TRANSITIONS,
        "not worker.is_alive(now)\n",
        'not worker.is_alive(now - __import__("datetime").timedelta(seconds=worker.lease * 19))\n',
        "The jobs of a dead worker are released only after twenty leases.",
    ),
    Mutant(
        "living-workers-rescued",
        TRANSITIONS,
        "not worker.is_alive(now)\n",
        'not worker.is_alive(now + __import__("datetime").timedelta(seconds=worker.lease / 2))\n',
        "A worker counts as dead when half of its lease is over.",
    ),
)
