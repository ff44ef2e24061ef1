-- All schedules: ours, and those of pg-boss's whose name no schedule of ours has.
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
    tableoid = '{schema}.schedule'::regclass
from {schema}.zeke_any_schedule as listed
where
    tableoid <> '{schema}.schedule'::regclass
    or not exists (select from {schema}.zeke_schedule as ours where ours.name = listed.name)
order by name collate "C"
