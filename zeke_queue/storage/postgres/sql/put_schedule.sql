-- Stores a schedule. A definition in code is noted, and stored only if it is not the one noted before, so
-- that what people edited stands until code changes. A trigger has a change of cron or zone, and the end of a
-- pause, start anew from now.
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
updated_on = excluded.updated_on
where excluded.declared is null or old.declared is distinct from excluded.declared
