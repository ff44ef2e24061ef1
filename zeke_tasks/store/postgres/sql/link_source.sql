update zeke.stories
set
    primary_source_id = %(source_id)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s and primary_source_id is distinct from %(source_id)s
