select
    source.id,
    source.type,
    source.name,
    source.url,
    source.authority_score::float8 as authority_score,
    source.is_active,
    source.check_frequency_hours,
    source.metadata
from zeke.sources as source
left join zeke.source_health as health on source.id = health.source_id
where
    source.is_active
    and (source.url is not null or source.type = 'youtube_search')
    and source.type = any(%(types)s::text[])
    and (
        %(due_in)s::float8 is null
        or health.next_check_at is null
        or health.next_check_at
        <= coalesce(%(now)s::timestamptz, statement_timestamp()) + make_interval(secs => %(due_in)s)
    )
order by health.next_check_at nulls first, source.id
