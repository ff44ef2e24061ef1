"""Mutants of the heartbeat that named tests find: its thread, its connection, and what it releases."""

from __future__ import annotations

from typing import Final

from tests.mutants.patching import Tested, tested

HEARTBEAT: Final[tuple[Tested, ...]] = (
    tested(
        "locked-unknown-job-stops-claims",
        "zeke_queue.worker.heartbeat",
        "settle(released=unknown, skip_locked=True)",
        "settle(released=unknown)",
        "A worker whose claim had no answer claims nothing while one of its jobs is locked.",
        "tests/runtime/test_heartbeat_outage.py",
        "-k",
        "locked_job_of_a_claim",
    ),
    tested(
        "settled-job-taken-for-unknown",
        "zeke_queue.worker.unknown_jobs",
        " or sent.answers < self.answers:\n",
        ":\n",
        "A job that was settled while two heartbeats were without an answer is released.",
        "tests/unit/test_unknown_jobs.py",
    ),
    tested(
        "oldest-heartbeat-given-up-first",
        "zeke_queue.worker.heartbeat_sender",
        "late = [*unanswered][1:2]",
        "late = [*unanswered][:1]",
        "No heartbeat is answered where it takes longer to connect than a few pauses.",
        "tests/unit/test_heartbeat_sender.py",
        "-k",
        "connecting_may_take_longer",
    ),
    tested(
        "hanging-heartbeat-kept",
        "zeke_queue.worker.heartbeat_sender",
        "if sent_at - since >= KEPT_SECONDS]",
        "if sent_at - since >= 1000 * KEPT_SECONDS]",
        "A heartbeat on a dead connection is kept for as long as others are answered.",
        "tests/unit/test_heartbeat_sender.py",
        "-k",
        "without_an_answer_is_abandoned",
    ),
    tested(
        "late-error-of-a-heartbeat-counts",
        "zeke_queue.worker.heartbeat_sender",
        "            if sent_at > self._answered_at:\n",
        "            if sent_at:\n",
        "An outage is logged after its end, when a connection of its time is closed.",
        "tests/unit/test_heartbeat_sender.py",
        "-k",
        "late_error",
    ),
    tested(
        "error-of-a-heartbeat-ends-the-worker",
        "zeke_queue.storage.postgres.heartbeat_connection",
        "with no_driver_errors(), translated():",
        "with translated():",
        "A deadlock or an error of a trigger in one heartbeat ends the worker, and cancels its handlers.",
        "tests/postgres/test_heartbeat_connection.py::test_error_of_the_server_fails_one_heartbeat",
    ),
    tested(
        "error-of-a-claim-ends-the-worker",
        "zeke_queue.storage.postgres.store",
        "        with no_driver_errors():\n            return await self._claims.claim(",
        "        if worker:\n            return await self._claims.claim(",
        "An internal error of the server in one claim ends the worker, and cancels its handlers.",
        "tests/postgres/test_heartbeat_connection.py",
        "-k",
        "is_a_storage_error_to_a_worker",
    ),
)
