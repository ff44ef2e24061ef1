-- Pauses a queue, keeping the time of an earlier pause, or resumes it and wakes idle workers: all
-- that listen, since one may become idle meanwhile.
with stored as (
    insert into {schema}.queue (name, paused_on)
    values (
        %(name)s::text,
        case when %(paused)s::bool then coalesce(%(now)s::timestamptz, statement_timestamp()) end
    )
    on conflict (name) do update set
    paused_on = case when %(paused)s::bool then coalesce(queue.paused_on, excluded.paused_on) end
    returning name
)

select count(pg_notify(%(work_channel)s, stored.name))
from stored
where not %(paused)s::bool
