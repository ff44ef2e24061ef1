-- Suspends a job that is active at this attempt until another one ends: it starts in a century, so no claim
-- finds it. If the other has ended, or does not exist, it is due at once. Both are locked, so neither changes
-- meanwhile. "between 'active' and 'active'" and "any(array[...])" as in complete.sql.
with living as (
    select id
    from {schema}.job
    where id = %(child)s::uuid and id <> %(id)s::uuid and state < 'completed'
),

marked as (
    update {schema}.job
    set awaited = true
    from living
    where
        job.id = any(array[living.id])
        and not job.awaited
        and exists (
            select from {schema}.job as parent
            where
                parent.id = %(id)s::uuid
                and parent.attempt = %(attempt)s::int
                and parent.state between 'active' and 'active'
        )
),

done as (
    update {schema}.job
    set
        state = 'created',
        startafter = coalesce(%(now)s::timestamptz, statement_timestamp())
        + case when living.id is null then interval '0' else interval '876000 hours' end,
        completedon = null,
        keepuntil = coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '876000 hours',
        worker = null,
        waitsfor = living.id
    from (select 1) as once
    left join living on true
    where
        job.id = %(id)s::uuid
        and job.attempt = %(attempt)s::int
        and job.state between 'active' and 'active'
    returning job.id, job.name, job.waitsfor
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
    from (
        select name from done
        where waitsfor is null
        union
        select done.name
        from done
        inner join {schema}.queue on done.name = queue.name and queue.concurrency_limit is not null
    ) as due
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
