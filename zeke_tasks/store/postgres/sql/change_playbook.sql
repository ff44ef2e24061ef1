update zeke.playbooks
set
    team_id = %(team_id)s,
    name = %(name)s,
    status = %(status)s,
    updated_at = coalesce(%(now)s::timestamptz, statement_timestamp())
where id = %(id)s
