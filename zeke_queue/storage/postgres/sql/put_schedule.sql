-- Stores a schedule. A definition in code is recorded, and stored only if it differs from the recorded one,
-- so that users' edits are kept until the code changes; otherwise the row is left out, since a conflict would
-- lock it even if it changed nothing. A trigger restarts the schedule from now after a change of cron or
-- zone, and at the end of a pause. A schedule of pg-boss's by that name is replaced.
with replaced as (
    delete from {schema}.schedule
    where name = %(name)s::text
)

insert into {schema}.zeke_schedule as old (
    name, cron, task, timezone, data, options, catch_up, description, paused, declared, created_on, updated_on
)
select
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
where
    %(declared)s::jsonb is null
    or not exists (
        select from {schema}.zeke_schedule as known
        where known.name = %(name)s::text and known.declared = %(declared)s::jsonb
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
