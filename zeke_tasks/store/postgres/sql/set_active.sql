update zeke.sources
set
    is_active = %(active)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s and is_active is distinct from %(active)s::boolean
returning id
