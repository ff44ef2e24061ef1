-- Requeues ended jobs, due at once, in the order of their ids; a failed one may use one more retry.
with done as (
    update {schema}.job
    set
        state = %(state)s::{schema}.job_state,
        startafter = coalesce(%(now)s::timestamptz, statement_timestamp()),
        completedon = null,
        keepuntil = coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '876000 hours',
        worker = null,
        waitsfor = null,
        retrylimit = case
            when %(state)s::{schema}.job_state = 'retry'
                -- Other programs may have set counters to the integer maximum.
                then greatest(job.retrylimit, least(job.retrycount, 2147483646) + 1)
            else job.retrylimit
        end
    from (
        select * from unnest(%(ids)s::uuid[]) as asked (id)
        order by asked.id
    ) as given
    where job.id = any(array[given.id]) and job.state::text = any(%(from_states)s::text[])
    returning job.id, job.name
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
    select pg_notify(%(work_channel)s, due.name)
    from (select distinct name from done) as due
    where
        %(always)s::bool
        or exists (
            select from {schema}.worker
            where
                worker.asleep
                and due.name = any(worker.queues)
                and worker.beat_on + worker.lease >= coalesce(%(now)s::timestamptz, statement_timestamp())
        )
)

select
    id,
    (select count(*) from told) as told,
    (select count(*) from woken) as woken
from done
