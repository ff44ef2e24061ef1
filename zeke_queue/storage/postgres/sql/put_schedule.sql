-- Stores a schedule. A change of cron or zone, or the end of a pause, starts anew from now. A definition in
-- code is noted, and stored only if it is not the one that was noted before: so what people edited stands
-- until code changes.
insert into {schema}.schedule as old (
    name, cron, task, timezone, data, options, catch_up, description, paused, declared, created_on, updated_on
)
values (
    %(name)s::text,
    %(cron)s::text,
    %(task)s::text,
    %(zone)s::text,
    %(data)s::jsonb,
    %(options)s::jsonb,
    %(catch_up)s::text,
    %(description)s::text,
    %(paused)s::bool,
    %(declared)s::jsonb,
    coalesce(%(now)s::timestamptz, statement_timestamp()),
    coalesce(%(now)s::timestamptz, statement_timestamp())
)
on conflict (name) do update set
cron = excluded.cron,
task = excluded.task,
timezone = excluded.timezone,
data = excluded.data,
options = excluded.options,
catch_up = excluded.catch_up,
description = excluded.description,
paused = excluded.paused,
declared = coalesce(excluded.declared, old.declared),
updated_on = excluded.updated_on,
last_tick = case
    when
        (old.cron, coalesce(old.timezone, 'UTC')) = (excluded.cron, excluded.timezone)
        and not (old.paused and not excluded.paused)
        then old.last_tick
end,
next_tick = case
    when
        (old.cron, coalesce(old.timezone, 'UTC')) = (excluded.cron, excluded.timezone)
        and not (old.paused and not excluded.paused)
        then old.next_tick
end
where excluded.declared is null or old.declared is distinct from excluded.declared
