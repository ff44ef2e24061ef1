update zeke.stories
set
    summary = %(summary)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s and summary is distinct from %(summary)s
