"""``zeke_sim.crash_test``: kills a process at each statement of a task's handler, once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core.failure import shown
from zeke_queue.errors import UsageError
from zeke_queue.model import JobStatus
from zeke_queue.task.task import Task
from zeke_sim.properties.user import unique_effects
from zeke_sim.testing.fixtures import fail_if_never, wrong
from zeke_sim.testing.seeded_test import ONCE, made_test
from zeke_sim.testing.worlds import check_catalog, world_options

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    import pytest

    from zeke_queue.model import Job
    from zeke_queue.task.catalog import Catalog
    from zeke_sim.experiment.crashes import Crashes
    from zeke_sim.testing.client import Client
    from zeke_sim.testing.seeded_test import SeededRuns, Workload

DEFAULTS: Final[dict[str, Any]] = {"workers": 2, "days": 0.01, "faults": ["kill_line"]}
"""Options of ``zeke_sim.test`` that differ here; ``faults`` cannot be given."""

GLOBALS: Final = (
    "create what handlers change and read in `resources=`, or reset it in the workload, since globals of "
    "modules outlive a run"
)

NO_EFFECTS: Final = "no effects: whether one is lost is not tested; pass resources made by zeke_sim.double"

NO_POINTS: Final = (
    "crash_test: must reach a statement of a handler, got none; wait for the jobs in the workload, and name "
    "the modules of handlers whose source is elsewhere, as in code=['shop.tasks']"
)


def crash_test(
    subject: Task[Any, Any] | str | Workload | None = None,
    payload: Any = None,
    *,
    pairs: bool = False,
    status: str = "COMPLETED",
    may_lose: Sequence[str] = (),
    catalog: Catalog | None = None,
    **worlds: Any,
) -> Any:
    """Make a test that kills the process at each statement of a task, in a separate run for each.

    ::

        test_charge_survives_crashes = zeke_sim.crash_test(charge, Order(number=1), resources=Provider)

        @zeke_sim.crash_test(pairs=True)
        async def test_order_is_charged_once(zeke):
            run = await zeke.trigger(charge, Order(number=1))
            assert (await zeke.wait(run)).status == "COMPLETED"

    After a kill, nothing of the process has an effect, not even its ``finally`` blocks; other processes
    recover the job. In every run the guarantees of the queue, the test's properties and its assertions must
    hold, and no effect (``zeke_sim.effect``, or a call of a ``zeke_sim.double``) may happen twice. A killed
    job that completes must have the effects, and send the jobs, that it does without a kill.

    Args:
        subject: the task, or its name; or a workload, as for ``zeke_sim.test``.
        payload: the payload of the task's job.
        pairs: whether to add runs with two kills, for at most ``experiment.crashes.PAIRS_MAX`` pairs of
            points; if there are more pairs, a sample is tried.
        status: how the task's job must end.
        may_lose: the beginnings of effects that may be missing after a kill, as in ``["Mail.send"]``, or of
            jobs that are sent, as in ``["a job of receipt"]``.
        catalog: the application's catalog; by default that of the fixture ``zeke_catalog``.
        **worlds: see ``WorldOptions``; by default there are two workers. ``faults`` is not an option.

    Raises:
        UsageError: an argument is invalid.
    """
    check_catalog(catalog)
    if status not in list(JobStatus):
        raise UsageError(f"status: must be one of {', '.join(JobStatus)}, got {shown(status)}")
    if "faults" in worlds:
        raise UsageError("faults: must not be given, since crash_test only kills; use zeke_sim.test")
    _check_may_lose(may_lose)
    if not isinstance(subject, Task | str) and (payload is not None or status != "COMPLETED"):
        name = "status" if payload is None else "payload"
        raise UsageError(f"{name}: must be given with a task; a workload sends and asserts by itself")
    made = world_options({**DEFAULTS, **worlds}, "pairs", "status", "may_lose", "catalog", refused="faults")
    made = replace(made, properties=(*made.properties, unique_effects(ONCE)._replace(tested=None)))

    def search(runs: SeededRuns, hits: Counter[str], _config: pytest.Config) -> None:
        if isinstance(subject, Task | str):
            try:
                runs.catalog.get(cast("Task[Any, Any] | str", subject)).dump(payload)
            except UsageError as error:
                wrong(f"crash_test: {error}")
        results = runs.crash(pairs=pairs, may_lose=tuple(may_lose))
        if results is None:
            return
        _check_results(results, runs)
        fail_if_never(hits, 1 + results.tried + results.pairs)

    def decorate(workload: Workload) -> Callable[..., None]:
        return made_test(workload, made, catalog, search)

    if isinstance(subject, Task | str):
        return decorate(_job_of(cast("Task[Any, Any] | str", subject), payload, status))
    return decorate if subject is None else decorate(subject)


crash_test.__test__ = False  # pyright: ignore[reportFunctionMemberAccess] - not a test itself


def _check_may_lose(given: Any) -> None:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UsageError(f"may_lose: must be a list of the beginnings of effects, got {shown(given)}")
    for one in cast("Sequence[Any]", given):
        if not isinstance(one, str) or not one:
            raise UsageError(
                f"may_lose: must be the beginning of an effect, as in 'Mail.send', got {shown(one)}"
            )


def _check_results(results: Crashes, runs: SeededRuns) -> None:
    """Report what was tried, and fail if handlers passed no point, or behaved differently in each run."""
    if not any(runs.fault_coverage.passed.values()):
        wrong(NO_POINTS)
    notes = [] if any(map(bool, results.done.values())) else [NO_EFFECTS]
    notes += [f"{task} fails without a kill, too: {error}" for task, error in results.failed.items()]
    runs.report(results.summary(), *notes)
    if results.uneven:
        wrong(f"crash_test: each run without a kill must have the same effects, and two differed; {GLOBALS}")
    if results.missed is not None:
        line = results.missed.affected.line or "its end"
        wrong(f"crash_test: each run must pass the same points, and one did not reach {line}; {GLOBALS}")


def _job_of(task: Task[Any, Any] | str, payload: Any, status: str) -> Workload:
    """Return a workload that sends one job, and waits until it has ended."""

    async def crash_test(zeke: Client) -> None:
        """Wait for a job, which must end as required."""
        job = await zeke.wait(await zeke.trigger(task, payload))
        if job.status != status:
            raise AssertionError(_ended_as(job, status, zeke.resources))

    return crash_test


def _ended_as(job: Job, status: str, resources: Any) -> str:
    """Describe the wrong end of a job, and what to do where the cause is likely."""
    output: Any = job.output
    said = str(output)
    if isinstance(output, dict):
        error = cast("dict[str, Any]", output)
        said = f"{error.get('type')}: {error.get('message')}"
    advice = ""
    if "WorkerLost" in said and job.retry_count >= job.retry_limit:
        advice = "; it has no retries left: set retry_limit, or pass status='FAILED'"
    elif "'NoneType' object has no attribute" in said and resources is None:
        advice = "; if that is job.resources, pass resources="
    return f"the job must end as {status}, got {job.status}: {said}{advice}"
