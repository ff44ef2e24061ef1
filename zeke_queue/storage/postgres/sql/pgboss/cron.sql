-- When pg-boss last checked its schedules, whether that was recently, the time, and the queues of those ticks
-- that it has still to forward.
select
    max(version.cron_on) as cron_on,
    coalesce(max(version.cron_on) > statement_timestamp() - interval '2 minutes', false) as running,
    statement_timestamp() as now,
    array(
        select job.data ->> 'name'
        from {schema}.job
        where
            job.name = %(forwarded)s::text
            and job.state <= 'active'
            and job.keep_until > statement_timestamp()
            and job.data ->> 'name' is not null
        order by 1
    ) as pending
from {schema}.version as version
