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
where playbook_id = %(playbook_id)s
order by id
