insert into zeke.source_connections (team_id, source_id, created_at)
select
    %(team_id)s::uuid,
    source.id,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from zeke.sources as source
where source.id = %(source_id)s
for key share
on conflict do nothing
returning team_id
