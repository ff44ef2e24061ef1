"""The errors of the runtime, classified by what the caller can do next.

::

    ZekeError
     ├── UsageError                    the call is wrong: change it; repeating does not help
     │    ├── UnknownTaskError         no such task in the catalog
     │    ├── DuplicateTaskError       two tasks of one catalog have the same name or alias
     │    ├── PayloadValidationError   the payload is invalid for the task's model; ``fields`` says where
     │    ├── PayloadTooLargeError     a payload or an output exceeds its cap
     │    ├── SerializationError       a value that JSON (as Postgres stores it) can't hold
     │    ├── InvalidNameError         not a valid name of a queue, schedule or schema
     │    ├── InvalidOptionError       a number out of range, or options that exclude each other
     │    ├── InvalidScheduleError     an invalid cron expression, one that never fires, or an unknown zone
     │    └── SettingsError            an environment variable is missing or invalid
     ├── JobConflictError              a uniqueness rule refused the send; ``holder`` is the other job
     ├── JobNotFoundError              no live or archived job has this id
     ├── ScheduleNotFoundError         no schedule has this name
     ├── LeaseLostError                the worker no longer holds the job: stop, and settle nothing
     ├── ResultTimeoutError            the job did not end in time; it continues
     ├── JobFailedError                the awaited job failed; ``job`` is its final state
     │    ├── JobCancelledError        it was cancelled
     │    └── JobExpiredError          its last attempt took longer than its deadline
     └── StorageError
          ├── StorageUnavailableError  the database is or became unreachable: try again later
          │    └── TimeLimitError      the statement was ended, and has changed nothing
          │         ├── LockTimeoutError       another transaction keeps a lock
          │         └── StatementTimeoutError  the server cancelled it
          │              └── ReadTimeoutError  a search read too much: narrow it
          ├── StatementFailedError     the database failed, not because of the values: try again later
          ├── SchemaVersionError       the tables are missing, too old, or another system's: migrate
          ├── UnsupportedServerError   the server is older than PostgreSQL 15
          └── PermissionDeniedError    the role lacks a right; the message names it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from zeke_queue.model import EXPIRED_TYPE, RowState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self
    from uuid import UUID

    from zeke_queue.model import Job


class ZekeError(Exception):
    """Any error that this package raises deliberately."""


class UsageError(ZekeError, ValueError):
    """The call is wrong; the message names the field, the error in it, and the remedy."""


class UnknownTaskError(UsageError):
    """The catalog has no task with this name."""


class DuplicateTaskError(UsageError):
    """Two tasks of one catalog claim the same name or alias."""


class FieldError(NamedTuple):
    """One invalid field of a payload: its path (``a.b.0``), and the reason."""

    path: str
    message: str


class PayloadValidationError(UsageError):
    """The payload is not valid for the task's model.

    Attributes:
        task: the task's name.
        fields: the invalid fields, in the model's order, 100 at most; the last one counts those left out.
    """

    def __init__(self, task: str, fields: Sequence[FieldError]) -> None:
        self.task = task
        self.fields = tuple(fields)
        listed = "; ".join(f"{f.path}: {f.message}" for f in self.fields)
        super().__init__(f"The payload does not fit task {task!r}: {listed}")


class PayloadTooLargeError(UsageError):
    """A payload or an output exceeds its cap."""


class SerializationError(UsageError):
    """Postgres can't store a value as JSON (NaN, NUL, a type without a JSON form)."""


class InvalidNameError(UsageError):
    """The name of a queue, schedule or schema is invalid."""


class InvalidOptionError(UsageError):
    """An option is out of range, or excludes another given one."""


class InvalidScheduleError(UsageError):
    """A cron expression is invalid or never fires, or a zone is unknown."""


class SettingsError(UsageError):
    """A setting is missing or invalid; the message names the variable, and never contains a secret."""


class JobConflictError(ZekeError):
    """A uniqueness rule refused a send.

    Attributes:
        holder: the job that holds the key or the slot; None if it ended meanwhile or could not be looked up.
        sent: of ``send_many``: the runs of the jobs that were not refused; they are stored.
    """

    def __init__(self, message: str, holder: UUID | None = None, sent: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.holder = holder
        self.sent = sent


class JobNotFoundError(ZekeError, LookupError):
    """No live or archived job has this id."""

    @classmethod
    def of(cls, job_id: UUID) -> Self:
        """Return the error for a job."""
        return cls(f"No job has the id {job_id}: it never existed, or was purged")


class ScheduleNotFoundError(ZekeError, LookupError):
    """No schedule has this name."""


def no_page(before: UUID) -> JobNotFoundError:
    """Return the error for a page that should follow a job that does not exist or no longer exists."""
    return JobNotFoundError(
        f"before: must be the id of a live or archived job, got {before}; pass that of another, or omit it to"
        " start from the beginning"
    )


class LeaseLostError(ZekeError):
    """The worker no longer holds the job: it expired, was cancelled, or another worker holds it."""

    @classmethod
    def of(cls, job_id: UUID | None) -> Self:
        """Return the error for a job."""
        return cls(f"Job {job_id} is no longer this worker's; stop, nothing it does will be stored")


class ResultTimeoutError(ZekeError, TimeoutError):
    """The job did not end in time; it continues."""


class JobFailedError(ZekeError):
    """The awaited job did not complete.

    Attributes:
        job: the job in its final state, with its output (the error).
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        output: object = job.output
        error = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
        why = f": {error['type']}: {error['message']}" if "type" in error and "message" in error else ""
        if not why and job.row_state is RowState.EXPIRED:  # pg-boss ended it
            why = f": {EXPIRED_TYPE}"
        super().__init__(f"Job {job.id} of {job.name!r} ended {job.status.value}{why}")

    @staticmethod
    def of(job: Job) -> JobFailedError:
        """Return the error for a job that ended without completing, of a subclass where one applies."""
        return _BY_STATE.get(job.row_state, JobFailedError)(job)


class JobCancelledError(JobFailedError):
    """The awaited job was cancelled."""


class JobExpiredError(JobFailedError):
    """The last attempt of the awaited job exceeded its deadline."""


_BY_STATE = {RowState.CANCELLED: JobCancelledError, RowState.EXPIRED: JobExpiredError}


class StorageError(ZekeError):
    """An error of the storage."""


class StorageUnavailableError(StorageError):
    """The database did not answer in time; unless a subclass says otherwise, a call may have taken effect."""


class TimeLimitError(StorageUnavailableError):
    """The storage answered: it ended a statement at a limit, so that nothing has changed."""


class LockTimeoutError(TimeLimitError):
    """Another transaction kept a lock for too long, so the statement was ended and has changed nothing."""

    @classmethod
    def of(cls, reason: str) -> Self:
        """Return the error for the storage's reason."""
        return cls(
            f"Another transaction keeps a row locked that this call needs: {reason}. Nothing was changed;"
            " repeat the call when that transaction has ended. `zeke doctor` reports the oldest open"
            " transaction, and pg_blocking_pids(PID) the sessions for which a session waits"
        )


class StatementTimeoutError(TimeLimitError):
    """The server cancelled a statement at a time limit or on an operator's request; nothing has changed."""


class ReadTimeoutError(StatementTimeoutError):
    """A search read too much; the message says what narrows it."""


class StatementFailedError(StorageError):
    """A statement failed for a reason other than its values; nothing has changed."""


class SchemaVersionError(StorageError):
    """The tables are missing, of another version, or another system's."""


class UnsupportedServerError(StorageError):
    """The server is older than the oldest supported PostgreSQL."""


class PermissionDeniedError(StorageError):
    """The role lacks a required right."""


def is_outage(error: BaseException) -> bool:
    """Return whether the storage did not answer; a statement that it ended at a limit was answered."""
    return isinstance(error, StorageUnavailableError) and not isinstance(error, TimeLimitError)
