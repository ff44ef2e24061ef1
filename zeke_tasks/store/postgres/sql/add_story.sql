insert into zeke.stories (
    id,
    content_id,
    content_hash,
    kind,
    primary_source_id,
    title,
    url,
    published_at,
    is_partial,
    created_at,
    updated_at
)
select
    %(id)s::uuid,
    %(content_id)s::uuid,
    %(content_hash)s,
    %(kind)s,
    %(primary_source_id)s::uuid,
    %(title)s,
    %(url)s,
    %(published_at)s::timestamptz,
    %(is_partial)s,
    clock.now,
    clock.now
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
on conflict do nothing
returning id
