-- Locks schedules whose next tick is due or not known (never served), those that wait longest first. A policy
-- that we don't know is a later version's, and left to it.
--
-- pg-boss's own schedules are due only while its cron is silent; their ticks up to its last round count as
-- served.
select
    name,
    cron,
    coalesce(task, name),
    coalesce(timezone, 'UTC'),
    data::text,
    options::text,
    catch_up,
    description,
    paused,
    case when of_pgboss then greatest(last_tick, cron_on) else last_tick end,
    next_tick,
    of_pgboss,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from {schema}.zeke_any_schedule as listed
cross join lateral (select listed.tableoid = '{schema}.schedule'::regclass as of_pgboss) as kind
cross join (
    select max(least(cron_on, coalesce(%(now)s::timestamptz, statement_timestamp()))) as cron_on
    from {schema}.version
    where cron_on is not null
) as pgboss
where
    not paused
    and catch_up in ('skip', 'once', 'all')
    and (%(single)s::text is null or name = %(single)s::text)
    and name <> all(%(without)s::text[])
    and (
        next_tick <= coalesce(%(now)s::timestamptz, statement_timestamp())
        or next_tick is null and last_tick is null
    )
    and (
        not of_pgboss
        or not exists (select from {schema}.zeke_schedule as ours where ours.name = listed.name)
        and coalesce(
            cron_on < coalesce(%(now)s::timestamptz, statement_timestamp())
            - %(silence)s::float8 * interval '1 second',
            true
        )
    )
order by next_tick nulls first, name collate "C"
limit %(limit)s::int
for update of listed skip locked
