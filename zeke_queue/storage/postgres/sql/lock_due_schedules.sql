-- Locks schedules whose next tick is due or not known (never served), those that wait longest first. A policy
-- that we don't know is a later version's, and left to it.
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
    last_tick,
    next_tick,
    coalesce(%(now)s::timestamptz, statement_timestamp())
from {schema}.schedule
where
    not paused
    and catch_up in ('skip', 'once', 'all')
    and (
        next_tick <= coalesce(%(now)s::timestamptz, statement_timestamp())
        or next_tick is null and last_tick is null
    )
order by next_tick nulls first, name collate "C"
limit %(limit)s::int
for update skip locked
