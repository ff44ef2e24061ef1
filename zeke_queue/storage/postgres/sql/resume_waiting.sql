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

-- Two steps, since a subquery that sorts and locks might read all jobs in the order of their ids.
skipped as materialized (
    select
        gone.id as child,
        waiting.id
    from gone
    cross join lateral (
        select job.id
        from {schema}.job
        where job.waitsfor = any(array[gone.id]) and job.state::text in ('created', 'retry')
        -- Keeps it a search for each child.
        offset 0
    ) as waiting
    order by gone.id, waiting.id
    limit {limit}
),

done as (
    update {schema}.job
    set startafter = coalesce(%(now)s::timestamptz, statement_timestamp()), waitsfor = null
    from (
        select locked.id
        from skipped
        cross join lateral (
            select job.id
            from {schema}.job
            where
                job.id = skipped.id
                and job.waitsfor is not distinct from skipped.child
                and job.state::text in ('created', 'retry')
            for no key update skip locked
        ) as locked
    ) as parent
    where job.id = any(array[parent.id])
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
