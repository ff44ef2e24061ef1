-- Suspends a job that is active at this attempt until another one ends: it starts in a century, so no claim
-- finds it. If the other has ended, it is due at once. Both are locked, so neither changes meanwhile.
-- "between 'active' and 'active'" and "any(array[...])" as in complete.sql.
--
-- A job that is due because the other had ended is kept until two centuries after that end, plus a number of
-- microseconds from the other's id. Whatever else ends an attempt replaces this time by one in a century. So
-- a job that has it waits again for the same end, and is left alone. One that has another such time, and
-- waits for a job that had ended before this attempt, does so in turn with others: it is due after a pause.
with living as (
    select id
    from {schema}.job
    where id = %(child)s::uuid and id <> %(id)s::uuid and state < 'completed'
),

ended as (
    select
        found.completedon,
        found.completedon
        + interval '1752000 hours'
        + ('x' || right((%(child)s::uuid)::text, 8))::bit(32)::bigint * interval '1 microsecond' as seen_until
    from (
        select completedon
        from {schema}.job
        where id = %(child)s::uuid and state > 'active'
        union all
        select completedon
        from {schema}.archive
        where id = %(child)s::uuid
    ) as found
    -- Other programs write other times, for which the sum may be out of range.
    where
        found.completedon <= coalesce(%(now)s::timestamptz, statement_timestamp())
        and found.completedon
        >= coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '87600 hours'
    limit 1 -- noqa: AM09
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
        + case
            when living.id is not null then interval '876000 hours'
            when
                job.keepuntil
                > coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '1314000 hours'
                and coalesce(ended.completedon < job.startedon, true)
                then interval '1 second'
            else interval '0'
        end,
        completedon = null,
        keepuntil = coalesce(
            ended.seen_until,
            coalesce(%(now)s::timestamptz, statement_timestamp())
            + case when living.id is null then interval '1752000 hours' else interval '876000 hours' end
        ),
        worker = null,
        waitsfor = living.id
    from (select 1) as once
    left join living on true
    left join ended on living.id is null
    where
        job.id = %(id)s::uuid
        and job.attempt = %(attempt)s::int
        and job.state between 'active' and 'active'
        and job.keepuntil is distinct from ended.seen_until
    returning job.id, job.name, job.startafter
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
        where startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
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
