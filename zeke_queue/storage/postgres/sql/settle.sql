-- Writes outcomes of every kind to jobs that are active at the attempt named, in the order of their ids.
--
-- An outcome names the state that follows. With a delay the job waits again; with an error that is kept in
-- the history (its last 25 entries; a history that is not a list is another program's, and is replaced) and,
-- like a result, in the output. complete.sql explains the conditions.
with done as (
    update {schema}.job
    set
        state = outcome.state,
        completedon = case
            when outcome.delay is null then coalesce(%(now)s::timestamptz, statement_timestamp())
        end,
        startafter = case
            when outcome.delay is null then job.startafter
            else
                coalesce(%(now)s::timestamptz, statement_timestamp())
                + outcome.delay * interval '1 microsecond'
        end,
        keepuntil = case
            when outcome.delay is null then job.keepuntil
            else coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '876000 hours'
        end,
        worker = case when outcome.delay is null then job.worker end,
        waitsfor = case when outcome.delay is null then job.waitsfor end,
        output = case when outcome.released then job.output else outcome.output::jsonb end,
        history = case
            when outcome.failed
                then case
                    when jsonb_typeof(job.history) is distinct from 'array' then '[]'
                    when jsonb_array_length(job.history) >= 25 then job.history - 0
                    else job.history
                end || jsonb_build_array(jsonb_build_object(
                    'attempt', job.attempt,
                    'at', to_char(
                        coalesce(%(now)s::timestamptz, statement_timestamp()) at time zone 'UTC',
                        'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'
                    ),
                    'state', outcome.state,
                    'error', outcome.output::jsonb,
                    'worker', job.worker
                ))
            else job.history
        end
    from (
        select
            given.id,
            given.attempt,
            given.state::{schema}.job_state as state,
            given.delay,
            given.output,
            given.failed,
            given.delay is not null and not given.failed as released
        from unnest(
            %(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[], %(delays)s::bigint[],
            %(outputs)s::text[], %(faileds)s::bool[]
        ) as given (id, attempt, state, delay, output, failed)
        order by given.id
    ) as outcome
    where
        job.id = any(array[outcome.id])
        and job.attempt = outcome.attempt
        and job.state between 'active' and 'active'
    returning
        job.id,
        job.name,
        job.startafter,
        job.state,
        job.awaited and job.state > 'active' as awaited,
        job.on_complete and job.state > 'active' and left(job.name, 9) <> '__state__' as on_complete,
        case when job.on_complete and job.state <> 'expired' then job.output end as output
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
    select pg_notify(%(work_channel)s, work.name)
    from (
        select done.name
        from done
        where
            done.state < 'active' and done.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
        union
        select ended.name
        from (select distinct name from done) as ended
        inner join {schema}.queue on ended.name = queue.name and queue.concurrency_limit is not null
    ) as work
    where
        %(always)s::bool
        or exists (
            select from {schema}.worker
            where
                worker.asleep
                and work.name = any(worker.queues)
                and worker.beat_on + worker.lease >= coalesce(%(now)s::timestamptz, statement_timestamp())
        )
)

select
    id,
    awaited,
    (select count(*) from told) as told,
    (select count(*) from woken) as woken
from done
