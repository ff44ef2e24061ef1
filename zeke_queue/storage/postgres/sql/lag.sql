-- Returns for each queue how long its oldest due job has been due. Steps through the priorities of each queue
-- by the index, and reads the first job of each: deferred jobs are not read.
with recursive line (name, priority) as (
    (
        select
            name,
            priority
        from {schema}.job
        where state < 'active'
        order by name collate "C", priority desc
        limit 1
    )
    union all
    select
        next.name,
        next.priority
    from line
    cross join lateral (
        select
            either.name,
            either.priority
        from (
            (
                select
                    job.name,
                    job.priority
                from {schema}.job
                where
                    job.state < 'active'
                    and job.name = line.name collate "C"
                    and job.priority < line.priority
                order by job.priority desc
                limit 1
            )
            union all
            (
                select
                    job.name,
                    job.priority
                from {schema}.job
                where job.state < 'active' and job.name > line.name collate "C"
                order by job.name collate "C", job.priority desc
                limit 1
            )
        ) as either
        order by either.name collate "C"
        limit 1
    ) as next
)

select
    line.name,
    -- A start before the range of a datetime, which other programs may write, counts as its minimum.
    extract(
        epoch from coalesce(%(now)s::timestamptz, statement_timestamp())
        - greatest(min(first.startafter), timestamptz '0001-01-01 00:00:00+00')
    )::float8
from line
cross join lateral (
    select job.startafter
    from {schema}.job
    where
        job.name = line.name collate "C"
        and job.priority = line.priority
        and job.state < 'active'
        and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
    order by job.startafter
    limit 1
) as first
group by line.name
order by line.name collate "C"
