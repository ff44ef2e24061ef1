"""A job's row as the server's log prints it, and the ids and times of these tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
COMMITTED = NOW + timedelta(seconds=2)
JOB, WORKER = UUID(int=1), UUID(int=2)

JOB_TEXT = (
    f"id[uuid]:'{JOB}' name[text]:'it''s [text]:''x'' new-tuple: a' priority[integer]:-5"
    " data[jsonb]:'{\"a\": \"b c\"}' state[pgboss.job_state]:'created' retrylimit[integer]:3"
    " retrycount[integer]:0 retrydelay[integer]:1 retrybackoff[boolean]:true"
    " startafter[timestamp with time zone]:'2026-01-02 03:04:05.678+00'"
    " startedon[timestamp with time zone]:null singletonkey[text]:'null'"
    " singletonon[timestamp without time zone]:'2026-01-02 03:04:00' expirein[interval]:'PT1M2.5S'"
    " createdon[timestamp with time zone]:'2026-01-02 03:04:05.678+00'"
    " completedon[timestamp with time zone]:null output[jsonb]:null attempt[integer]:0 worker[uuid]:null"
    " parent[uuid]:null retrydelaymax[integer]:null history[jsonb]:null"
)
