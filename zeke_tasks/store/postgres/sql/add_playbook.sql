insert into zeke.playbooks (id, team_id, name, status, created_at, updated_at)
select
    %(id)s::uuid,
    %(team_id)s::uuid,
    %(name)s,
    %(status)s,
    clock.now,
    clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
on conflict do nothing
returning id
