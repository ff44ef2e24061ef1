-- Cancels waiting or running jobs, in the order of their ids; notifies watchers, and workers that sleep on a
-- limited queue.
with done as (
    update {schema}.job
    set
        state = 'cancelled',
        completedon = coalesce(%(now)s::timestamptz, statement_timestamp()),
        -- A resumed job is due, also if pg-boss resumes it.
        startafter = case
            when job.waitsfor is null then job.startafter
            else coalesce(%(now)s::timestamptz, statement_timestamp())
        end,
        waitsfor = null
    from (
        select * from unnest(%(ids)s::uuid[]) as asked (id)
        order by asked.id
    ) as given
    where job.id = any(array[given.id]) and job.state between 'created' and 'active'
    returning job.id, job.name, job.awaited
),

told as (
    select pg_notify(%(job_channel)s, done.id::text)
    from done
    where
        exists (select from {schema}.watcher)
        and exists (
            select from {schema}.watcher as watched
            where
                watched.job_id = done.id
                and watched.until > coalesce(%(now)s::timestamptz, statement_timestamp())
        )
),

woken as (
    select pg_notify(%(work_channel)s, roomy.name)
    from (
        select ended.name
        from (select distinct name from done) as ended
        inner join {schema}.queue on ended.name = queue.name and queue.concurrency_limit is not null
    ) as roomy
    where
        %(always)s::bool
        or exists (
            select from {schema}.worker
            where
                worker.asleep
                and roomy.name = any(worker.queues)
                and worker.beat_on + worker.lease >= coalesce(%(now)s::timestamptz, statement_timestamp())
        )
)

select
    id,
    awaited,
    (select count(*) from told) as told,
    (select count(*) from woken) as woken
from done
