insert into zeke.playbook_runs (
    id, playbook_id, team_id, trigger_source, triggered_by, metadata, created_at, updated_at
)
select
    %(id)s::uuid,
    playbook.id,
    %(team_id)s::uuid,
    %(trigger_source)s,
    %(triggered_by)s::uuid,
    %(metadata)s::jsonb,
    clock.now,
    clock.now
from zeke.playbooks as playbook
cross join (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
where playbook.id = %(playbook_id)s
for key share of playbook
on conflict do nothing
returning id
