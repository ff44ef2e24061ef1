select
    id,
    playbook_id,
    team_id,
    trigger_source,
    triggered_by,
    metadata,
    status,
    resumed,
    outputs,
    error,
    started_at,
    ended_at
from zeke.playbook_runs
where id = %(id)s
for no key update
