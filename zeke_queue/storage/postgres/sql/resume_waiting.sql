-- Resumes jobs whose child has ended, or no longer exists, if they were skipped at its end. Returns how many,
-- and how far this statement came, if it did not come to the end.
--
-- It reads a limited number of waiting jobs: those whose child is one of the jobs that ended last, so that a
-- parent that was just skipped is found soon, and those that wait for the next children by id, so that every
-- parent is found eventually. All parents of a child are resumed or none, so it does not matter whether the
-- last child that is read has further parents. States are compared as texts, which keeps the planner
-- from the index of all waiting jobs.
with ended as materialized (
    select latest.id
    from (
        select
            job.id,
            job.awaited
        from {schema}.job
        where
            job.state > 'active'
            and job.completedon <= coalesce(%(now)s::timestamptz, statement_timestamp())
        order by job.completedon desc
        limit {limit}
    ) as latest
    where latest.awaited
),

next_ones as materialized (
    select waiting.waitsfor as id
    from {schema}.job as waiting
    where waiting.waitsfor is not null and waiting.waitsfor > %(after)s::uuid
    order by waiting.waitsfor
    limit {limit} * 10
),

gone as materialized (
    select child.id
    from (
        select ended.id from ended
        union
        select next_ones.id from next_ones
    ) as child
    -- One index search each, for any number of children.
    where (
        select true
        from {schema}.job as living
        where living.id = child.id and living.state < 'completed'
        limit 1 -- noqa: AM09
    ) is null
),

-- The limit counts what could be locked, so that the others are not kept waiting by locked ones.
skipped as materialized (
    select waiting.id
    from (select gone.id from gone order by gone.id) as child
    cross join lateral (
        select job.id
        from {schema}.job
        where job.waitsfor = any(array[child.id]) and job.state::text in ('created', 'retry')
        for no key update skip locked
    ) as waiting
    limit {limit}
),

done as (
    update {schema}.job
    set startafter = coalesce(%(now)s::timestamptz, statement_timestamp()), waitsfor = null
    from skipped
    where job.id = any(array[skipped.id])
    returning job.id, job.name
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
    (select count(*) from done) as resumed,
    (
        select numbered.id
        from (
            select
                next_ones.id,
                row_number() over (order by next_ones.id) as place
            from next_ones
        ) as numbered
        where numbered.place = {limit} * 10
    ) as reached,
    (select count(*) from woken) as woken
