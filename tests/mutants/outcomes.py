"""Mutants of outcomes that can't be stored, and of what a worker declares and logs, that named tests find."""

from __future__ import annotations

from typing import Final

from tests.mutants.patching import Tested, tested

OUTCOMES: Final[tuple[Tested, ...]] = (
    tested(
        "overdue-outcomes-not-in-line",
        "zeke_queue.worker.settle_loop",
        "        if waits:\n            try:\n                changed =",
        "        waits = waits and not self._state.deferred\n"
        "        if waits:\n            try:\n                changed =",
        "Maintenance may take a finished job whose deadline has passed as soon as it is unlocked.",
        "tests/runtime/test_settle_loop.py::test_locked_jobs_past_their_deadline_wait_in_line_for_their_locks_in_turn",
    ),
    tested(
        "any-error-refuses-an-outcome",
        "zeke_queue.worker.settle_loop",
        "            except (StatementFailedError, TimeLimitError) as error:\n",
        "            except KeyError as error:\n",
        "A failed statement counts as an error in the outcome, which a failure replaces.",
        "tests/runtime/test_settle_loop.py::test_outcome_is_given_up_only_for_an_error_in_its_values",
    ),
    tested(
        "lost-outcomes-wait-for-a-locked-one",
        "zeke_queue.worker.settle_loop",
        "            batch = self._defer_locked(batch, locked)\n",
        "            batch = self._defer_locked(batch, {job.claimed.id for job in batch} - changed)\n",
        "A lost job keeps its place while another job of its batch is locked.",
        "tests/runtime/test_settle_loop.py::test_lost_and_refused_jobs_do_not_wait_for_a_locked_one",
    ),
    tested(
        "outcomes-counted-twice",
        "zeke_queue.worker.settle_loop",
        "                self._last = self._loop.time()\n",
        "                self._last = self._loop.time()\n"
        "                state.settled([job for job in batch if job not in state.deferred], 0.0)\n",
        "The number of outcomes that wait becomes too small, so that a worker takes jobs without a limit.",
        "tests/runtime/test_settle_loop.py::test_refused_outcome_of_a_locked_job_is_counted_once",
    ),
    tested(
        "locked-outcomes-in-line-one-by-one",
        "zeke_queue.worker.settle_loop",
        "                state = deferred.pop(job)\n",
        "                state = deferred[job]\n",
        "Of several finished jobs past their deadlines only one waits in line for its lock.",
        "tests/runtime/test_settle_loop.py::"
        "test_locked_jobs_past_their_deadline_wait_in_line_for_their_locks_in_turn",
    ),
    tested(
        "search-for-odd-outcomes-without-end",
        "zeke_queue.worker.settle_loop",
        "        while parts and failures < FAILURES_MAX:\n",
        "        while parts:\n",
        "An error of the whole table costs two statements an outcome, again and again.",
        "tests/runtime/test_settle_loop.py::test_error_of_all_outcomes_costs_few_statements",
    ),
    tested(
        "vain-searches-repeated",
        "zeke_queue.worker.settle_loop",
        "                size = 1\n",
        "                pass\n",
        "While the database stores nothing, a worker searches for the reason in every round.",
        "tests/runtime/test_settle_loop.py::test_error_of_all_outcomes_costs_few_statements",
    ),
    tested(
        "new-outcomes-behind-old-ones",
        "zeke_queue.worker.settle_loop",
        '            new = [job for job, state in deferred.items() if state == "new"]\n',
        "            new = []\n",
        "Outcomes wait for those of an earlier batch that can't be stored.",
        "tests/runtime/test_settle_loop.py::test_error_of_all_outcomes_costs_few_statements",
    ),
    tested(
        "locked-outcomes-given-up-at-the-end",
        "zeke_queue.worker.settle_loop",
        "        left = [*state.deferred]\n",
        "        left = []\n",
        "A worker that ends does not try to store the outcomes of locked jobs once more.",
        "tests/runtime/test_settle_loop.py::test_loop_that_closes_tries_locked_jobs_once_more",
    ),
    tested(
        "deferred-outcomes-use-the-payload-budget",
        "zeke_queue.worker.state",
        "            if job not in self.deferred and job in self.jobs and job not in self.running:\n"
        "                self.payload_bytes -= job.payload_bytes\n",
        "            if job not in self.deferred and job in self.jobs and job not in self.running:\n",
        "A worker whose finished jobs are locked claims no others once their payloads fill its budget.",
        "tests/unit/test_worker_state.py::test_job_whose_outcome_is_deferred_uses_no_place_and_no_memory",
    ),
    tested(
        "statements-given-up-in-silence",
        "zeke_queue.worker.storage_health",
        "                self.log_given_up(call.verb, error)\n",
        "                pass\n",
        "A worker that can't claim, since a table is locked, logs nothing.",
        "tests/unit/test_storage_health.py::"
        "test_statements_that_are_given_up_are_logged_once_a_minute_by_verb",
    ),
    tested(
        "releases-given-up-in-silence",
        "zeke_queue.worker.heartbeat",
        '                        self._health.log_given_up("release", error)\n',
        "                        pass\n",
        "Jobs that a worker does not know stay active at it, and no log line says why.",
        "tests/unit/test_heartbeat_releases.py::test_release_that_takes_too_long_is_logged_once_a_minute",
    ),
    tested(
        "worker-waits-for-a-locked-job-without-end",
        "zeke_queue.worker.settle_loop",
        "            left = left[BATCH_MAX:]\n",
        "            left = [*state.deferred]\n            await self._clock.sleep(0.1)\n",
        "A worker that ends while a row is locked stays registered until its lease ends.",
        "tests/runtime/test_shutdown.py::test_worker_that_ends_waits_for_a_locked_job_only_a_moment",
    ),
    tested(
        "refused-outcomes-stored-one-by-one",
        "zeke_queue.worker.settle_loop",
        "                return await self._store_refused(batch[0], error)\n            return error\n",
        "                return await self._store_refused(batch[0], error)\n"
        "            for job in batch:\n"
        "                await self._store([job], repeated=True)\n"
        "            return None\n",
        "One refused outcome costs a statement for each outcome of its batch, and all others wait for these.",
        "tests/runtime/test_settle_loop.py::test_refused_outcome_is_found_by_halves_while_others_are_stored",
    ),
    tested(
        "refused-outcomes-end-the-search",
        "zeke_queue.worker.settle_loop",
        "            failures += new or failed\n",
        "            failures += 1\n",
        "A worker that ends drops outcomes, if many others of their batch are refused.",
        "tests/runtime/test_settle_loop.py::test_outcomes_refused_at_the_end_are_all_replaced",
    ),
    tested(
        "refused-outcomes-behind-a-slow-search",
        "zeke_queue.worker.settle_loop",
        "            if new and failed:\n",
        "            if new:\n",
        "The batch of a refused outcome waits until a search for an odd row has ended, and may run again.",
        "tests/runtime/test_settle_loop.py::"
        "test_refused_outcome_is_found_although_a_search_for_another_takes_long",
    ),
    tested(
        "outcomes-behind-many-refused-ones",
        "zeke_queue.worker.settle_loop",
        "            failures += new or failed\n",
        "            failures += failed\n",
        "Outcomes wait until each refused one of an earlier batch is found.",
        "tests/runtime/test_settle_loop.py::"
        "test_search_for_refused_outcomes_does_not_delay_new_ones_for_long",
    ),
    tested(
        "search-waits-for-a-lock-in-each-part",
        "zeke_queue.worker.settle_loop",
        "            waits = False\n",
        "",
        "A refused outcome beside a locked row stops all settlements of the worker for twenty seconds.",
        "tests/runtime/test_settle_loop.py::test_search_for_a_refused_outcome_waits_for_a_lock_once",
    ),
    tested(
        "locks-awaited-never-again",
        "zeke_queue.worker.settle_loop",
        "        waits = waits or (new and not self._state.deferred)\n",
        "",
        "No settlement waits for a lock, so that a row that is locked for a moment is deferred.",
        "tests/runtime/test_settle_loop.py::test_search_for_a_refused_outcome_waits_for_a_lock_once",
    ),
    tested(
        "locked-events-delay-each-outcome",
        "zeke_queue.worker.progress",
        "            self._blocked = not is_outage(error)\n",
        "",
        "While the table of log lines is locked, each batch of outcomes waits for that lock.",
        "tests/runtime/test_progress_writer.py::test_outcomes_do_not_wait_again_for_a_locked_table",
    ),
    tested(
        "debounce-skips-a-slot-that-has-begun",
        "zeke_queue.client.insert",
        "for job in (prepared[position].job, later)]",
        "for job in (later, later)]",
        "A debounced send leaves out the slot that begins between its two tries.",
        "tests/runtime/test_send.py::test_debounced_send_takes_the_slot_that_begins_between_its_two_tries",
    ),
    tested(
        "lines-of-another-flush-follow-the-end",
        "zeke_queue.worker.progress",
        " or self._one_write.locked())",
        ")",
        "Outcomes do not wait for lines that are being written for other outcomes.",
        "tests/runtime/test_progress_writer.py::test_flush_waits_for_the_lines_of_another_flush",
    ),
    tested(
        "lines-follow-the-end-after-a-failed-write",
        "zeke_queue.worker.settle_loop",
        " and failures < LINES_FAILURES_MAX:",
        " and failures < 0:",
        "A job ends before its last lines are stored if one write of them fails.",
        "tests/runtime/test_progress_writer.py::"
        "test_job_ends_after_its_last_lines_though_a_write_of_them_failed",
    ),
    tested(
        "status-swallowed-by-a-second-reader",
        "zeke_queue.watch.job_watcher",
        "            watched.notify(is_news=True)\n        leave",
        "            pass\n        leave",
        "A status that a new reader brings along reaches the others only with the next poll.",
        "tests/runtime/test_watch.py::test_newer_state_reaches_the_subscriptions_before",
    ),
    tested(
        "waits-in-turn-without-a-pause",
        "zeke_queue.storage.memory.transitions",
        "IN_TURN_SECONDS: Final = 1.0\n",
        "IN_TURN_SECONDS: Final = 0.0\n",
        "A job that waits for two ended jobs in turn runs again and again without a pause.",
        "tests/conformance/test_endless_waits.py",
        "-k",
        "in_turn",
    ),
    tested(
        "outcomes-behind-refused-heartbeats-at-the-end",
        "zeke_queue.worker.lifecycle",
        "            await self.settle.finish()\n",
        '            await self.settle.finish() if name == "claim" else None\n',
        "A worker that ends stores no outcome while its heartbeats are refused, and its jobs run again.",
        "tests/runtime/test_shutdown.py::test_outcomes_are_stored_at_the_end_although_heartbeats_are_refused",
    ),
    tested(
        "outcomes-given-up-in-silence",
        "zeke_queue.worker.lifecycle",
        "            self.settle.report_left()\n            self._cancel_all()\n",
        "            self._cancel_all()\n",
        "A worker that ends during an outage does not say which outcomes are lost.",
        "tests/runtime/test_shutdown.py::test_worker_that_ends_names_what_it_could_not_store",
    ),
    tested(
        "outcomes-given-up-in-silence-by-a-cancelled-end",
        "zeke_queue.worker.lifecycle",
        "            self.settle.report_left()\n            self._cancel_all()\n",
        "            self._cancel_all()\n"
        "            if 'finish' in self._running:\n"
        "                self.settle.report_left()\n",
        "A worker whose end is cancelled does not say which outcomes are lost.",
        "tests/runtime/test_shutdown.py::test_worker_that_ends_names_what_it_could_not_store",
    ),
    tested(
        "given-up-settlements-logged-twice",
        "zeke_queue.worker.storage_health",
        ', "settle_unlocked"',
        "",
        "A settlement that takes too long is logged twice a minute.",
        "tests/unit/test_storage_health.py",
    ),
    tested(
        "new-limit-stored-late",
        "zeke_queue.worker.declaration",
        "                await self._parts.storage.declare(new, [])\n",
        "                pass\n",
        "A worker runs jobs of a new queue without its limit while the row of another queue is locked.",
        "tests/unit/test_declaration.py::test_limit_of_a_new_queue_is_stored_before_anything_is_claimed",
    ),
)
