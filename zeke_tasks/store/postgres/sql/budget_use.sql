select
    nullif(
        coalesce(
            (
                select coalesce(own.dollars, 'infinity')
                from zeke.ai_budgets as own
                where own.team_id is not distinct from %(team_id)s::uuid
            ),
            %(fallback)s::numeric,
            'infinity'
        ),
        'infinity'
    ) as dollars,
    coalesce(
        (
            select today.used
            from zeke.ai_budget_days as today
            where today.team_id is not distinct from %(team_id)s::uuid and today.day = %(day)s
        ),
        0
    ) as used,
    coalesce(
        (
            select sum(held.dollars)
            from zeke.ai_reservations as held
            where
                held.team_id is not distinct from %(team_id)s::uuid
                and held.day = %(day)s
                and held.reserved_at > coalesce(%(now)s::timestamptz, statement_timestamp())
                - make_interval(secs => %(within)s)
        ),
        0
    ) as held
