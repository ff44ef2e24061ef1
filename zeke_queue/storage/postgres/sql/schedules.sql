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
    next_tick
from {schema}.schedule
order by name collate "C"
