"""The errors of the runtime, named by what the caller can do next.

::

    ZekeError
     ├── UsageError                    the call is wrong: change it, repeating won't help
     │    ├── UnknownTaskError         no such task in the catalog
     │    ├── DuplicateTaskError       two tasks of one catalog have the same name or alias
     │    ├── PayloadValidationError   the payload doesn't fit the task's model; ``fields`` says where
     │    ├── PayloadTooLargeError     payload or output over its cap
     │    ├── SerializationError       a value that JSON (as Postgres stores it) can't hold
     │    ├── InvalidNameError         not a name of a queue, schedule or schema
     │    ├── InvalidOptionError       a number out of range, options that exclude each other
     │    ├── InvalidScheduleError     cron that can't be read or never fires, unknown zone
     │    └── SettingsError            an environment variable is missing or can't be read
     ├── JobConflictError              a uniqueness rule refused the send; ``holder`` is the other job
     ├── IllegalTransition             a job in this state can't take this event (a defect of ours)
     ├── JobNotFoundError              no live or archived job has this id
     ├── ScheduleNotFoundError         no schedule has this name
     ├── LeaseLostError                the job is no longer yours: stop, and settle nothing
     ├── ResultTimeoutError            the job did not end in time; it goes on
     ├── JobFailedError                the job that was waited for failed; ``job`` is the job as it ended
     │    ├── JobCancelledError        it was cancelled
     │    └── JobExpiredError          its last attempt took longer than its deadline
     └── StorageError
          ├── StorageUnavailableError  the database can't be reached, or went away: try again later
          ├── SchemaVersionError       the tables are missing, too old, or another system's: migrate
          ├── UnsupportedServerError   the server is older than PostgreSQL 15
          └── PermissionDeniedError    the role lacks a right; the message names it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self
    from uuid import UUID

    from zeke_queue.model import Job


class ZekeError(Exception):
    """Any error that this package raises on purpose."""


class UsageError(ZekeError, ValueError):
    """The call is wrong; the message names the field, what is wrong with it, and what to do."""


class UnknownTaskError(UsageError):
    """No task of this name is in the catalog."""


class DuplicateTaskError(UsageError):
    """Two tasks of one catalog claim the same name or alias."""


class FieldError(NamedTuple):
    """One field of a payload that does not fit: its path (``a.b.0``), and why."""

    path: str
    message: str


class PayloadValidationError(UsageError):
    """The payload does not fit the task's model.

    Attributes:
        task: the task's name.
        fields: every field that does not fit, in the model's order.
    """

    def __init__(self, task: str, fields: Sequence[FieldError]) -> None:
        self.task = task
        self.fields = tuple(fields)
        listed = "; ".join(f"{f.path}: {f.message}" for f in self.fields)
        super().__init__(f"The payload does not fit task {task!r}: {listed}")


class PayloadTooLargeError(UsageError):
    """A payload or an output is over its cap."""


class SerializationError(UsageError):
    """A value can't be kept as JSON by Postgres (NaN, NUL, a type that has no JSON form)."""


class InvalidNameError(UsageError):
    """A name of a queue, schedule or schema is not one."""


class InvalidOptionError(UsageError):
    """An option is out of its range, or excludes another one that was given."""


class InvalidScheduleError(UsageError):
    """A cron expression can't be read or never fires, or a zone is unknown."""


class SettingsError(UsageError):
    """A setting is missing or can't be read; the message names the variable, and never shows a secret."""


class JobConflictError(ZekeError):
    """A uniqueness rule refused a send.

    Attributes:
        holder: the job that holds the key or the slot; None if it ended meanwhile, is of the same
            transaction, or could not be asked for.
    """

    def __init__(self, message: str, holder: UUID | None = None) -> None:
        super().__init__(message)
        self.holder = holder


class IllegalTransition(ZekeError):
    """A job in this state can't take this event; code of ours asked for it, so repeating won't help."""


class JobNotFoundError(ZekeError, LookupError):
    """No live or archived job has this id."""

    @classmethod
    def of(cls, job_id: UUID) -> Self:
        """Return the error about a job."""
        return cls(f"No job has the id {job_id}: it never existed, or was purged")


class ScheduleNotFoundError(ZekeError, LookupError):
    """No schedule has this name."""


def no_page(before: UUID) -> JobNotFoundError:
    """Return the error for a list that was to go on behind a job which is not there (any more)."""
    return JobNotFoundError(
        f"before: no job has the id {before}, live or archived, so there is no telling where the page begins;"
        " give another job's, or none to begin anew"
    )


class LeaseLostError(ZekeError):
    """The job is no longer this worker's: it expired, was cancelled, or was given to another."""

    @classmethod
    def of(cls, job_id: UUID | None) -> Self:
        """Return the error about a job."""
        return cls(f"Job {job_id} is no longer this worker's; stop, nothing it does will be stored")


class ResultTimeoutError(ZekeError, TimeoutError):
    """The job did not end in time; it goes on."""


class JobFailedError(ZekeError):
    """The job that was waited for did not complete.

    Attributes:
        job: the job as it ended, with its state and its output (the error).
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        output: object = job.output
        error = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
        why = f": {error['type']}: {error['message']}" if "type" in error and "message" in error else ""
        super().__init__(f"Job {job.id} of {job.name!r} ended {job.state.value}{why}")

    @staticmethod
    def of(job: Job) -> JobFailedError:
        """Return the error about a job that ended without completing: one of the subclasses where it fits."""
        return _BY_STATE.get(job.state.value, JobFailedError)(job)


class JobCancelledError(JobFailedError):
    """The job that was waited for was cancelled."""


class JobExpiredError(JobFailedError):
    """The last attempt of the job that was waited for took longer than its deadline."""


_BY_STATE = {"cancelled": JobCancelledError, "expired": JobExpiredError}


class StorageError(ZekeError):
    """Something about the storage."""


class StorageUnavailableError(StorageError):
    """The database can't be reached, or the connection broke: nothing is known of the statement's outcome."""


class SchemaVersionError(StorageError):
    """The tables are missing, of another version, or another system's."""


class UnsupportedServerError(StorageError):
    """The server is older than the oldest PostgreSQL that is supported."""


class PermissionDeniedError(StorageError):
    """The role lacks a right that is needed."""
