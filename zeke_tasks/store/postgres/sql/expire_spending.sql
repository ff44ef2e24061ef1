with kept as (
    select coalesce(%(now)s::timestamptz, statement_timestamp()) - make_interval(secs => %(after)s) as since
),

expired as (
    select spent.ctid as place
    from zeke.ai_spending as spent
    where spent.created_at < (select kept.since from kept)
    order by spent.created_at
    limit %(limit)s
    for update skip locked
),

-- A day is over everywhere a day after it is in UTC.
days as (
    delete from zeke.ai_budget_days
    where day < ((select kept.since from kept) at time zone 'UTC')::date - 1
),

reservations as (
    delete from zeke.ai_reservations
    where reserved_at < (select kept.since from kept)
)

delete from zeke.ai_spending as spent
using expired
where spent.ctid = expired.place
returning spent.job_id
