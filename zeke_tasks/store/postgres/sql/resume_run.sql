update zeke.playbook_runs as run
set
    status = 'running',
    resumed = run.resumed + 1,
    error = null,
    started_at = coalesce(run.started_at, clock.now),
    ended_at = null,
    updated_at = clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where run.id = %(id)s and run.status in ('failed', 'cancelled')
returning run.id
