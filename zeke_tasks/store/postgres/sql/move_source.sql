update zeke.sources
set
    url = %(url)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s
returning id
