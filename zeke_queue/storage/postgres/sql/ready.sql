-- Returns which of these limited queues have room and a due job, so that only their rows need locking: in the
-- order of their first due jobs, and at most as many as jobs are wanted, since the first n jobs are in the
-- queues of the first n heads; and one more for each that shares another's limit, since n heads of queues
-- that share one may stand for a single job. Heads are found as in the claim, with its marks: below them lie
-- the dead entries that marks spare. Running jobs, also those of queues that share the limit, are counted in
-- this order too, and only up to the last queue that is returned. The search for the first priority of a gap
-- stands apart from that for the next ones: one step for both, beginning above the gap, takes a tenth longer.
with recursive open_queue as materialized (
    select
        queue.name,
        coalesce(first.concurrency_limit, queue.concurrency_limit) as concurrency_limit,
        array_append(queue.limited_with, queue.name) as counted,
        queue.limited_with[1] <> queue.name as shares
    from {schema}.queue
    left join {schema}.queue as first on queue.limited_with[1] = first.name
    where queue.name = any(%(names)s::text[]) and queue.paused_on is null
),

found (name, concurrency_limit, counted, low, priority, startafter, id) as (
    select
        open_queue.name,
        open_queue.concurrency_limit,
        open_queue.counted,
        gap.low,
        top.priority,
        due.startafter,
        due.id
    from unnest(%(gap_names)s::text[], %(gap_lows)s::int[], %(gap_highs)s::int[]) as gap (name, low, high)
    inner join open_queue on gap.name = open_queue.name
    cross join lateral (
        select job.priority
        from {schema}.job
        where
            job.name = gap.name collate "C"
            and job.state < 'active'
            and job.priority between gap.low and gap.high
        order by job.priority desc
        limit 1
    ) as top
    left join lateral (
        select
            job.startafter,
            job.id
        from {schema}.job
        where
            job.name = gap.name collate "C"
            and job.priority = top.priority
            and job.state < 'active'
            and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
        order by job.startafter, job.id
        limit 1
    ) as due on true
    union all
    select
        found.name,
        found.concurrency_limit,
        found.counted,
        found.low,
        next.priority,
        due.startafter,
        due.id
    from found
    cross join lateral (
        select job.priority
        from {schema}.job
        where
            job.name = found.name collate "C"
            and job.state < 'active'
            and job.priority >= found.low
            and job.priority < found.priority
        order by job.priority desc
        limit 1
    ) as next
    left join lateral (
        select
            job.startafter,
            job.id
        from {schema}.job
        where
            job.name = found.name collate "C"
            and job.priority = next.priority
            and job.state < 'active'
            and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
        order by job.startafter, job.id
        limit 1
    ) as due on true
    where found.id is null
),

head as (
    select
        found.name,
        found.concurrency_limit,
        found.counted,
        found.priority,
        found.startafter,
        found.id
    from found
    where found.id is not null
    union all
    select
        open_queue.name,
        open_queue.concurrency_limit,
        open_queue.counted,
        known.priority,
        due.startafter,
        due.id
    from unnest(
        %(known_names)s::text[], %(known_priorities)s::int[], %(marks)s::timestamptz[], %(mark_ids)s::uuid[]
    ) as known (name, priority, mark, mark_id)
    inner join open_queue on known.name = open_queue.name
    cross join lateral (
        select
            job.startafter,
            job.id
        from {schema}.job
        where
            job.name = known.name collate "C"
            and job.priority = known.priority
            and job.state < 'active'
            and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
            and (job.startafter, job.id) >= (known.mark, known.mark_id)
        order by job.startafter, job.id
        limit 1
    ) as due
),

first as materialized (
    select distinct on (head.name)
        head.name,
        head.concurrency_limit,
        head.counted,
        head.priority,
        head.startafter,
        head.id
    from head
    order by head.name asc, head.priority desc, head.startafter asc, head.id asc
)

select ahead.name
from (
    select
        first.name,
        first.concurrency_limit,
        first.counted,
        first.priority,
        first.startafter,
        first.id
    from first
    order by first.priority desc, first.startafter asc, first.id asc
    offset 0
) as ahead
where
    ahead.concurrency_limit is null
    or ahead.concurrency_limit > (
        select count(*) from {schema}.job as running
        where running.name = any(ahead.counted collate "C") and running.state = 'active'
    )
order by ahead.priority desc, ahead.startafter asc, ahead.id asc
limit %(limit)s::int + (select count(*) from open_queue where open_queue.shares)
