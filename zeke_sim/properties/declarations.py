"""Declarations of a catalog take effect: limits shared by a task's names, and options of schedules' jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from zeke_sim.history.events import Invoked
from zeke_sim.history.state import Broken
from zeke_sim.properties.cron import tick_of
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from zeke_queue.core.options import OptionLayer
    from zeke_queue.model import NewJob
    from zeke_sim.history.state import RunState


@holds("a task's names share its limit", Invoked, verbs=("declare",))
def a_tasks_names_share_its_limit(event: Invoked, state: RunState) -> None:
    """A task's name and its aliases are declared together with the task's limit, which they share."""
    declared = {queue.name: queue for queue in event.args["queues"]}
    for names, limits in state.rules.shared.items():
        if not declared.keys() >= set(names):
            continue
        parts = [(declared[name].concurrency_limit, declared[name].limited_with) for name in names]
        meant = {(limit, () if limit is None else names) for limit in limits}
        if len(set(parts)) > 1 or parts[0] not in meant:
            stored = "; ".join(f"{limit} with {', '.join(shared) or 'none'}" for limit, shared in parts)
            raise Broken(f"{', '.join(names)} get {stored}, of a limit of {' or '.join(map(str, limits))}")


@holds("a tick has its task's options", Invoked, verbs=("insert",))
def a_tick_has_its_tasks_options(event: Invoked, state: RunState) -> None:
    """A schedule's job has the options of its task unless the schedule overrides them."""
    for job in event.args["jobs"]:
        tick = tick_of(job)
        schedule = None if tick is None else state.schedules.get(tick[0])
        known = state.rules.options.get(job.name)
        if schedule is None or schedule.options or not known:
            continue
        differences = [_difference(job, options) for options in known]
        if all(differences):
            raise Broken(f"the job of {schedule.name!r} {differences[0]}", job=job.id)


def _difference(job: NewJob, options: OptionLayer) -> str | None:
    """Describe how a job differs from the options of its task; return None if it does not."""
    said = {
        "priority": options.priority,
        "retry_limit": options.retry_limit,
        "retry_delay": _seconds(options.retry_delay),
        "retry_backoff": options.retry_backoff,
        "retry_delay_max": _seconds(options.retry_delay_max),
        "expire_in": _seconds(options.expire_in),
    }
    for name, value in said.items():
        if value is not None and getattr(job, name) != value:
            return f"has {name} {getattr(job, name)}, and its task says {value}"
    return None


def _seconds(given: timedelta | float | None) -> float | None:
    return given.total_seconds() if isinstance(given, timedelta) else given
