update zeke.playbooks
set
    status = 'active',
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s and status = 'draft'
returning id
