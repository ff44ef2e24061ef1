with limits as (
    select coalesce(
        (
            select coalesce(own.dollars, 'infinity')
            from zeke.ai_budgets as own
            where own.team_id is not distinct from %(team_id)s::uuid
        ),
        %(fallback)s::numeric,
        'infinity'
    ) as dollars
),

counted as (
    insert into zeke.ai_budget_days as today (team_id, day, used)
    select
        %(team_id)s::uuid,
        %(day)s::date,
        %(dollars)s::numeric
    from limits
    where limits.dollars >= %(dollars)s::numeric
    on conflict (team_id, day) do update
    set used = today.used + excluded.used
    where today.used + excluded.used <= (select limits.dollars from limits)
    returning today.day
)

insert into zeke.ai_reservations as reservation (
    job_id, attempt, purpose, task, model, team_id, day, dollars, reserved_at
)
select
    %(job_id)s,
    %(attempt)s,
    %(purpose)s,
    %(task)s,
    %(model)s,
    %(team_id)s::uuid,
    counted.day,
    %(dollars)s,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from counted
on conflict (job_id, attempt, purpose, day) do update
set dollars = reservation.dollars + excluded.dollars
returning job_id
