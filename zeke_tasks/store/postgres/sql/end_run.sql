update zeke.playbook_runs as run
set
    status = %(status)s,
    error = %(error)s,
    ended_at = clock.now,
    updated_at = clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where run.id = %(id)s and run.status in ('pending', 'running')
returning run.id
