-- Stores a schedule of another pg-boss, unless one of its name exists; returns its name. Ticks up to
-- pg-boss's last round count as served.
insert into {schema}.zeke_schedule (
    name, cron, task, timezone, data, options, catch_up, paused, created_on, updated_on, last_tick, next_tick
)
select
    %(name)s::text,
    %(cron)s::text,
    %(task)s::text,
    %(zone)s::text,
    %(data)s::jsonb,
    %(options)s::jsonb,
    %(catch_up)s::text,
    false,
    coalesce(%(now)s::timestamptz, statement_timestamp()),
    coalesce(%(now)s::timestamptz, statement_timestamp()),
    %(last_tick)s::timestamptz,
    %(next_tick)s::timestamptz
where not exists (select from {schema}.zeke_any_schedule as known where known.name = %(name)s::text)
on conflict (name) do nothing
returning name
