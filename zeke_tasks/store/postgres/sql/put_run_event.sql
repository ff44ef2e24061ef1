insert into zeke.playbook_run_events (run_id, round, kind, step, data, at)
select
    run.id,
    %(round)s,
    %(kind)s,
    %(step)s,
    %(data)s::jsonb,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from zeke.playbook_runs as run
where run.id = %(run_id)s
on conflict do nothing
returning seq
