-- Returns for each queue how long its oldest due job has been due. Goes from one priority of a queue to the
-- next lower one, and from queue to queue, by the index, and looks at the first job of each: what is deferred
-- is not read, however much there is.
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
    -- A start beyond what a datetime holds, which others may write, counts as the first that it holds.
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
