with kept as (
    select coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s) as since
),

old_calls as (
    select ctid as place
    from zeke.ai_spending
    where created_at < (select kept.since from kept)
    order by created_at
    limit %(limit)s
    for update skip locked
),

-- A day is over everywhere a day after it is in UTC.
old_days as (
    select ctid as place
    from zeke.ai_budget_days
    where day < ((select kept.since from kept) at time zone 'UTC')::date - 1
    order by day, team_id nulls first
    limit %(limit)s
    for update skip locked
),

old_reservations as (
    select ctid as place
    from zeke.ai_reservations
    where reserved_at < (select kept.since from kept)
    order by reserved_at, job_id, attempt, purpose collate "C", day
    limit %(limit)s
    for update skip locked
),

calls as (
    delete from zeke.ai_spending
    where ctid = any(array(select old_calls.place from old_calls))
    returning job_id
),

days as (
    delete from zeke.ai_budget_days
    where ctid = any(array(select old_days.place from old_days))
    returning day
),

reservations as (
    delete from zeke.ai_reservations
    where ctid = any(array(select old_reservations.place from old_reservations))
    returning job_id
)

select
    (select count(*) from calls)
    + (select count(*) from days)
    + (select count(*) from reservations) as deleted
