update zeke.raw_items
set
    status = %(status)s,
    attempts = attempts + 1,
    error = %(error)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s and status = 'pending'
returning id
