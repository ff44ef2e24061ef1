insert into zeke.sources (
    id, type, name, url, authority_score, is_active, check_frequency_hours, metadata, created_at, updated_at
)
select
    %(id)s::uuid,
    %(type)s,
    %(name)s,
    %(url)s,
    %(authority_score)s::numeric,
    %(is_active)s,
    %(check_frequency_hours)s,
    %(metadata)s::jsonb,
    clock.now,
    clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
on conflict do nothing
returning id
