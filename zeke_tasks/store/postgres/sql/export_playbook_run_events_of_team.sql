select to_jsonb(event)
from zeke.playbook_run_events as event
inner join zeke.playbook_runs as run on event.run_id = run.id
where run.team_id = %(team_id)s
order by event.seq
