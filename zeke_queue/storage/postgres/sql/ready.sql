-- Returns which of these limited queues have room and a due job, so that only their rows need locking. Of
-- those that are known to be busy only the room is looked at: at their heads lie the dead entries that marks
-- spare.
with recursive open_queue as materialized (
    select name
    from {schema}.queue
    where
        name = any(%(names)s::text[])
        and paused_on is null
        and (
            concurrency_limit is null
            or concurrency_limit > (
                select count(*) from {schema}.job as running
                where running.name = queue.name collate "C" and running.state = 'active'
            )
        )
),

found (name, priority, due) as (
    select
        open_queue.name,
        top.priority,
        coalesce((
            select 1 from {schema}.job
            where
                job.name = open_queue.name collate "C"
                and job.priority = top.priority
                and job.state < 'active'
                and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
            order by job.startafter
            limit 1
        ), 0) as due
    from open_queue
    cross join lateral (
        select job.priority
        from {schema}.job
        where job.name = open_queue.name collate "C" and job.state < 'active'
        order by job.priority desc
        limit 1
    ) as top
    where open_queue.name <> all(%(busy)s::text[])
    union all
    select
        found.name,
        next.priority,
        coalesce((
            select 1 from {schema}.job
            where
                job.name = found.name collate "C"
                and job.priority = next.priority
                and job.state < 'active'
                and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
            order by job.startafter
            limit 1
        ), 0) as due
    from found
    cross join lateral (
        select job.priority
        from {schema}.job
        where job.name = found.name collate "C" and job.state < 'active' and job.priority < found.priority
        order by job.priority desc
        limit 1
    ) as next
    where found.due = 0
)

select open_queue.name
from open_queue
where open_queue.name = any(%(busy)s::text[])
union
select found.name
from found
where found.due = 1
