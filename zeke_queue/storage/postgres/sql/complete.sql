-- Completes jobs that are active at the named attempts, in the order of their ids; returns their ids.
--
-- Outcomes come as three texts, which a driver writes several times as fast as lists: two arrays as Postgres
-- prints them, and the outputs with a control character between them that no JSON can hold, empty for none.
--
-- The plan must be the same whatever the table held when it was made: each outcome finds its row by the id.
-- "any(array[...])" is no condition to hash or merge by, and "between 'active' and 'active'" keeps the
-- planner from the index of active rows: it takes that for nearly empty, and would compare every active row
-- with every outcome.
with done as (
    update {schema}.job
    set
        state = 'completed',
        completedon = coalesce(%(now)s::timestamptz, statement_timestamp()),
        output = outcome.output::jsonb
    from (
        select *
        from unnest(
            %(ids)s::text::uuid[],
            %(attempts)s::text::int[],
            string_to_array(%(outputs)s::text, chr(31), '')
        ) as given (id, attempt, output)
        order by given.id
    ) as outcome
    where
        job.id = any(array[outcome.id])
        and job.attempt = outcome.attempt
        and job.state between 'active' and 'active'
    returning
        job.id,
        job.name,
        job.awaited,
        job.state,
        job.on_complete and left(job.name, 9) <> '__state__' as on_complete,
        case when job.on_complete then job.output end as output
),

-- Inserts the completion job that a pg-boss 9 program asked for, as pg-boss does when it ends a job itself.
followed as (
    insert into {schema}.job (name, data, createdon, startafter, keepuntil)
    select
        '__state__completed__' || ended.name,
        jsonb_build_object(
            'request', jsonb_build_object('id', ended.id, 'name', ended.name, 'data', ended.data),
            'response', done.output,
            'state', done.state,
            'retryCount', ended.retrycount,
            'createdOn', ended.createdon,
            'startedOn', ended.startedon,
            'completedOn', coalesce(%(now)s::timestamptz, statement_timestamp()),
            'failed', done.state <> 'completed'
        ),
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        case
            when isfinite(ended.keepuntil) and isfinite(ended.startafter)
                then
                    least(ended.keepuntil, timestamptz '9999-12-31 00:00+00')
                    + greatest(
                        least(ended.keepuntil, timestamptz '9999-12-31 00:00+00')
                        - least(
                            greatest(ended.startafter, timestamptz '0001-01-01 00:00+00'),
                            timestamptz '9999-12-31 00:00+00'
                        ),
                        interval '0'
                    )
            else ended.keepuntil
        end
    from done
    inner join {schema}.job as ended on ended.id = any(array[done.id])
    where done.on_complete
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
