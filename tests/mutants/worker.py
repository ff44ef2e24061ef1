"""Mutants of the worker: claims, the heartbeat, interruptions, settlements, the end."""

from __future__ import annotations

from tests.mutants.patching import Mutant

LOOPS = "zeke_queue.worker.loops"
SETTLE_LOOP = "zeke_queue.worker.settle_loop"
STATE = "zeke_queue.worker.state"
HEARTBEAT = "zeke_queue.worker.heartbeat"
SENDER = "zeke_queue.worker.heartbeat_sender"
UNKNOWN = "zeke_queue.worker.unknown_jobs"
CLAIMS = "zeke_queue.worker.claims"
COROUTINE_POOL = "zeke_queue.worker.coroutine_pool"
OUTCOMES = "zeke_queue.worker.outcomes"
LIFECYCLE = "zeke_queue.worker.lifecycle"
HEALTH = "zeke_queue.worker.storage_health"

MUTANTS = (
    Mutant(
        "leaves-without-a-last-question",
        LOOPS,
        "        # Heartbeats sent during a claim could not tell such jobs from those that it brings.\n"
        "        self._claims.unsure = True\n",
        "",
        "A worker that stops as a slow claim ends keeps jobs that it does not know of.",
        where=("shutdown",),
    ),
    Mutant(
        "late-claim-kept",
        HEARTBEAT,
        "        if lost or self._unknown:\n",
        "        if lost:\n",
        "A claim that the server finishes after its client has left stays active at a worker that lives.",
        where=("cron",),
    ),
    Mutant(
        "doubt-is-put-off",
        LOOPS,
        "        # A doubt that arises during this call concerns something that the call does not see.\n",
        "        stopping = asyncio.ensure_future(self._stopping.wait())\n"
        "        await asyncio.wait([stopping], timeout=self._release_unknown.__self__._info.lease + 7)\n"
        "        stopping.cancel()\n",
        "A worker whose claim had no answer checks its jobs only when its lease would have ended.",
    ),
    Mutant(
        "heartbeats-on-the-blocked-loop",
        HEARTBEAT,
        "        if self._connection is None:\n            sender",
        "        if self._connection is not self:\n            sender",
        "A handler that blocks the event loop ends the lease of its worker.",
    ),
    Mutant(
        "doubt-forgotten",
        LOOPS,
        "        except BaseException:\n            self._claims.unsure = True\n",
        "        except BaseException:\n",
        "A worker whose check of its jobs failed does not repeat it.",
        where=("shutdown",),
    ),
    Mutant(
        "claim-outlives-the-lease",
        STATE,
        "        return at >= self.alive_until\n",
        "        return at >= self.alive_until + 3600\n",
        "A worker begins jobs of a claim during which its lease ended.",
        where=("expiry",),
    ),
    Mutant(
        "never-rests",
        CLAIMS,
        "        self._empty_claims = 0 if count else self._empty_claims + 1\n",
        "        self._empty_claims = 0\n",
        "A worker that finds nothing claims again at once.",
    ),
    Mutant(
        "drained-while-working",
        LOOPS,
        "            if holds_nothing and not left_out",
        "            if not left_out",
        "A drain ends while jobs run.",
        where=("shutdown",),
    ),
    Mutant(
        "settles-no-doubt-at-the-end",
        CLAIMS,
        "        if self.unsure:\n",
        "        if self.unsure and not self.stopping:\n",
        "A worker that ends while a claim's answer is lost leaves jobs behind, which then count as failed.",
        where=("shutdown",),
    ),
    Mutant(
        "beat-ignores-what-is-gone",
        HEARTBEAT,
        "        if lost:\n",
        "        if len(lost) > 1:\n",
        "A worker continues a job although its heartbeat showed that it was cancelled or lost.",
        where=("limits",),
    ),
    Mutant(
        "beat-drops-new-claims",
        STATE,
        "            and job.claim <= sent.claims_ended\n",
        "",
        "A job claimed during a heartbeat is dropped, since the answer does not contain it.",
        where=("transactions",),
    ),
    Mutant(
        "lease-from-the-answer",
        HEARTBEAT,
        "        self._state.restore(sent.at + self._info.lease)\n",
        "        self._state.restore(self._clock.monotonic() + self._info.lease)\n",
        "A worker counts its lease from a heartbeat's answer, the storage from the heartbeat.",
        where=("plain",),
    ),
    Mutant(
        "doubt-gives-back-everything",
        UNKNOWN,
        "if known.get(key[0]) != key[1] and key not in self._left",
        "if key not in self._left",
        "A worker whose claim had no answer also releases the jobs that it runs.",
    ),
    Mutant(
        "heartbeats-stop-in-an-outage",
        SENDER,
        "                    failures += 1\n",
        "                    failures += 1\n                    return\n",
        "A worker's heartbeats stop after a short outage of the storage.",
    ),
    Mutant(
        "heartbeats-pause-for-long-in-an-outage",
        SENDER,
        "        return min(longest, PAUSE_MIN * 2 ** min(failures, 10)) * ",
        "        return 30.0 * ",
        "After an outage that is shorter than the lease, the first heartbeat comes when it has ended.",
    ),
    Mutant(
        "leases-end-right-after-an-outage",
        "zeke_queue.maintenance.rescuer",
        "transaction.lock_expired(limit, monitor.uptime())",
        "transaction.lock_expired(limit)",
        "After an outage the jobs of workers are rescued which had no time to renew their leases.",
        where=("retries",),
    ),
    Mutant(
        "lease-unwatched",
        LIFECYCLE,
        '            self._start("lease", self.heartbeat.watch_lease())\n',
        "",
        "A worker continues its jobs after its lease has ended.",
        where=("cancel",),
    ),
    Mutant(
        "nothing-is-interrupted",
        STATE,
        '        return [] if job.queue.kind == "thread" else [Interrupt(job)]\n',
        '        return [Interrupt(job)] if job.queue.kind == "process" else []\n',
        "The handler of a cancelled, lost or expired job continues, and occupies its slot.",
    ),
    Mutant(
        "interrupted-pool-task-lost",
        COROUTINE_POOL,
        "                self._renew(slot)\n",
        "                if not task.cancelling():\n                    self._renew(slot)\n",
        "A worker loses a slot each time a handler is interrupted, until none is left.",
    ),
    Mutant(
        "limit-leaks-lost-jobs",
        STATE,
        "        job.queue.busy -= 1\n        return self.claims.freed()\n",
        "        return self.claims.freed()\n",
        "A job that a worker lost counts for its task's limit forever.",
        where=("limits",),
    ),
    Mutant(
        "limit-leaks-settled-jobs",
        STATE,
        "                    job.queue.busy -= 1\n                    freed = True\n            outcome",
        "                    job.queue.busy -= type(job.outcome) is not Released\n            outcome",
        "A job that a worker released counts for its task's limit forever.",
        where=("storm",),
    ),
    Mutant(
        "deadline-unwatched",
        STATE,
        '                actions += self.interrupt(job, "expired", now)\n',
        "                pass\n",
        "A handler continues past its deadline.",
    ),
    Mutant(
        "earlier-deadline-missed",
        "zeke_queue.system.waiting",
        "        if at < self._at:\n",
        "        if self._at == math.inf:\n",
        "A deadline that is earlier than those known already is not watched.",
    ),
    Mutant(
        "extension-unheeded",
        "zeke_queue.worker.job_context",
        "        self._services.extended(self.leased, deadline)\n",
        "",
        "A handler that extended its job is interrupted at the old deadline.",
    ),
    Mutant(
        "tried-again-in-place",
        "zeke_queue.worker.attempts",
        "        except GeneratorExit:",
        "        except RuntimeError as error:\n"
        "            if job.reason is not None or job.took:\n"
        "                return self._outcomes.raised(job, error)\n"
        "            job.took = 1.0\n"
        "            return await self(job)\n"
        "        except GeneratorExit:",
        "A handler that raises is tried once more in the same attempt.",
    ),
    Mutant(
        "begins-while-it-ends",
        STATE,
        "        if self._closed:\n            return self._release(jobs)\n",
        "",
        "A worker that ends starts the jobs of a claim in flight.",
        where=("shutdown",),
    ),
    Mutant(
        "no-shutdown-timeout",
        STATE,
        '                ("run", timeout),\n',
        '                ("run", 0.0),\n',
        "A worker that is stopped interrupts its handlers at once.",
    ),
    Mutant(
        "patient-for-ever-at-its-end",
        STATE,
        '                ("finish", FINAL_SETTLE_TIMEOUT),\n',
        '                ("finish", math.inf),\n',
        "A worker that ends waits for an unavailable storage without limit.",
        where=("shutdown",),
    ),
    Mutant(
        "goodbye-before-settling",
        LIFECYCLE,
        "                await asyncio.wait([parts[name]])\n",
        "                pass\n",
        "A worker leaves before it has settled, and its finished jobs run again.",
        where=("unique",),
    ),
    Mutant(
        "stop-drops-outcomes",
        SETTLE_LOOP,
        "        while state.outcomes:\n",
        "        while False:\n",
        "A worker that ends does not settle its last jobs.",
        where=("deploy",),
    ),
    Mutant(
        "outcomes-dropped-in-an-outage",
        SETTLE_LOOP,
        '            await self._health.retry("settle", settle, self._closing)\n',
        "            await settle(0)\n"
        "        except StatementFailedError.__base__:\n"
        "            self._forget(batch)\n",
        "An outcome is dropped if the storage is unavailable at that time.",
        where=("shutdown",),
    ),
    Mutant(
        "locked-outcomes-dropped",
        SETTLE_LOOP,
        "        while deferred:\n",
        "        self._state.settled([*deferred], 0.0)\n        deferred.clear()\n        while deferred:\n",
        "The outcome of a job whose row is locked is dropped.",
    ),
    Mutant(
        "outcomes-dropped-behind-a-statement",
        SETTLE_LOOP,
        "                self._last = self._loop.time()\n",
        "                self._last = self._loop.time()\n                state.outcomes = []\n",
        "An outcome is dropped if others are being stored at that time.",
    ),
    Mutant(
        "falsy-result-lost",
        OUTCOMES,
        "        if result is None:\n",
        "        if not result:\n",
        "A handler's result is lost if it is 0, False or empty.",
    ),
    Mutant(
        "late-return-completes",
        OUTCOMES,
        '            return None if job.reason == "lost" else self.expired(job)\n',
        '            if job.reason == "lost":\n                return None\n',
        "A handler that returns after its deadline completes its job.",
        where=("expiry",),
    ),
    Mutant(
        "expired-ends-failed",
        OUTCOMES,
        "self._verdict(claimed), output, RowState.EXPIRED)",
        "self._verdict(claimed), output, RowState.FAILED)",
        "A job whose last attempt took too long ends as failed, and not as expired.",
    ),
    Mutant(
        "fail-is-retried",
        OUTCOMES,
        "        if isinstance(error, Fail):\n",
        "        if isinstance(error, Fail) and not claimed.retry_limit:\n",
        "A job whose handler raised Fail is retried.",
    ),
    Mutant(
        "retry-after-unheeded",
        OUTCOMES,
        "                retry_in = error.after\n",
        "                retry_in = min(retry_in, error.after)\n",
        "A handler's requested delay is ignored if the policy's delay is shorter.",
    ),
    Mutant(
        "retry-has-no-end",
        OUTCOMES,
        "            if retry_in is not None and error.after is not None:\n",
        "            if error.after is not None:\n",
        "A handler that requests a delay has unlimited retries.",
    ),
    Mutant(
        "snooze-is-a-failure",
        OUTCOMES,
        "                return Released(claimed.id, claimed.attempt, seconds)\n",
        "                return None\n",
        "A handler that snoozes its job loses a retry.",
    ),
    Mutant(
        "shutdown-is-a-failure",
        OUTCOMES,
        '        if job.reason == "shutdown":\n',
        '        if job.reason == "shutdown" and not claimed.retry_limit:\n',
        "A job whose handler is interrupted by the end of its worker loses a retry.",
        where=("shutdown",),
    ),
    Mutant(
        "events-dropped-in-an-outage",
        "zeke_queue.worker.progress",
        "            self._refused = unstored[-WAITING_MAX:]\n",
        "",
        "Progress and log lines are dropped if the storage is unavailable.",
        where=("slice",),
    ),
    Mutant(
        "lost-answers-forgotten",
        SETTLE_LOOP,
        "repeated=repeated or failures > 0",
        "repeated=repeated",
        "A settlement whose answer was lost is made again as if for the first time.",
    ),
)
