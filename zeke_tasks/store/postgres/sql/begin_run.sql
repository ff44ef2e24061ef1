update zeke.playbook_runs as run
set
    status = 'running',
    started_at = clock.now,
    updated_at = clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where run.id = %(id)s and run.status = 'pending'
returning run.id
