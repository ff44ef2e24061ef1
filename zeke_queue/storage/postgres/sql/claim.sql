-- Claims due jobs over several queues, by priority, then startafter, then id.
--
-- The index serves this order within one queue and priority only, so every such pair (a head) is found by
-- a separate index search: those that the caller knows, with a mark below which no row waits, and those found
-- in the gaps between, from the highest priority down until as many heads have a due row as rows are wanted,
-- since these contain the first rows. Over several heads the first rows are ranked without locks, which gives
-- the number of rows of each head; then that many are locked, skipping locked ones, and updated by their
-- ctid, a plan that cannot flip. Names are compared by their bytes, as only our indexes do, so that the
-- planner cannot use one of pg-boss's instead, which would have to sort a backlog. Whether a head has a due
-- row is tested by a limit, since "exists" may be planned as reading all rows.
--
-- Rows that are ranked and then found locked leave such a claim short, and while they are locked the next one
-- too. One whose reach is longer than its limit locks rows of every head within its reach, and then takes the
-- best.
--
-- Payloads have a budget: the first rows in claim order that stay within it are claimed, and the first one
-- at the least if "least" is 1. Sizes are those of the JSON as Postgres writes it. Values that are stored
-- in more than 2,000 bytes, perhaps out of line, are costly to write. So if there are any, or the sum of
-- the sizes exceeds the budget, values are written one by one in claim order, until the budget is used up.
--
-- A queue with a limit is left out unless an earlier statement of the transaction has locked its row and
-- named it in a setting: only then does this one count with a snapshot to whose count no other claim can add.
-- Queues that share a limit form a pool, whose jobs are ranked together. The limit is that of the first one:
-- a program of an earlier version may have stored parts of it for each.
--
-- Notifies watchers of a job that it began.
--
-- Other programs may have set counters to the integer maximum, which must not fail the whole claim: the
-- attempt restarts at 1, which still differs from the one before, and the number of retries stays at the
-- maximum.
with recursive open_queue as materialized (
    select
        want.name,
        case
            when queue.concurrency_limit is null then want.name
            else coalesce(queue.limited_with[1], want.name)
        end as pool,
        case
            when queue.concurrency_limit is null then want.free
            else least(want.free, coalesce(first.concurrency_limit, queue.concurrency_limit) - (
                select count(*) from {schema}.job as running
                where
                    running.name = any(array_append(queue.limited_with, want.name) collate "C")
                    and running.state = 'active'
            ))
        end as free
    from unnest(%(names)s::text[], %(frees)s::int[]) as want (name, free)
    left join {schema}.queue on want.name = queue.name
    left join {schema}.queue as first on queue.limited_with[1] = first.name
    where
        queue.paused_on is null
        and (
            queue.concurrency_limit is null
            or want.name = any((
                select nullif(current_setting('zeke.locked_queues', true), '')::text[]
            )::text[])
        )
),

found (name, low, priority, due) as (
    select
        gap.name,
        gap.low,
        top.priority,
        coalesce((
            select 1 from {schema}.job
            where
                job.name = gap.name collate "C"
                and job.priority = top.priority
                and job.state < 'active'
                and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
            order by job.startafter
            limit 1
        ), 0) as due
    from unnest(%(gap_names)s::text[], %(gap_lows)s::int[], %(gap_highs)s::int[]) as gap (name, low, high)
    inner join open_queue on gap.name = open_queue.name and open_queue.free > 0
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
    union all
    select
        found.name,
        found.low,
        next.priority,
        found.due + coalesce((
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
        where
            job.name = found.name collate "C"
            and job.state < 'active'
            and job.priority >= found.low
            and job.priority < found.priority
        order by job.priority desc
        limit 1
    ) as next
    where found.due < %(reach)s::int
),

head as materialized (
    select
        found.name,
        found.priority,
        '-infinity'::timestamptz as mark,
        '00000000-0000-0000-0000-000000000000'::uuid as mark_id,
        open_queue.pool,
        open_queue.free
    from found
    inner join open_queue on found.name = open_queue.name
    union all
    select
        known.name,
        known.priority,
        known.mark,
        known.mark_id,
        open_queue.pool,
        open_queue.free
    from unnest(
        %(known_names)s::text[], %(known_priorities)s::int[], %(marks)s::timestamptz[], %(mark_ids)s::uuid[]
    ) as known (name, priority, mark, mark_id)
    inner join open_queue on known.name = open_queue.name and open_queue.free > 0
),

ranked as (
    select
        head.name,
        head.priority,
        head.free,
        due.startafter,
        due.id,
        row_number() over (
            partition by head.pool order by head.priority desc, due.startafter asc, due.id asc
        ) as place
    from head
    cross join lateral (
        select
            job.startafter,
            job.id
        from {schema}.job
        where
            job.name = head.name collate "C"
            and job.priority = head.priority
            and job.state < 'active'
            and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
            and (job.startafter, job.id) >= (head.mark, head.mark_id)
        order by job.startafter, job.id
        limit {limit}
    ) as due
    where (select count(*) from head) > 1 and %(reach)s::int <= %(limit)s::int
),

quota as materialized (
    select
        name,
        priority,
        count(*) as share
    from (
        select
            name,
            priority
        from ranked
        where place <= free
        order by priority desc, startafter asc, id asc
        limit %(limit)s::int
    ) as first
    group by name, priority
    union all
    select
        name,
        priority,
        least(free, %(limit)s::int) as share
    from head
    where (select count(*) from head) = 1 or %(reach)s::int > %(limit)s::int
),

picked as materialized (
    select
        head.name,
        head.priority,
        head.pool,
        head.free,
        chosen.startafter,
        chosen.id,
        chosen.place,
        chosen.bytes
    from quota
    inner join head on quota.name = head.name and quota.priority = head.priority
    cross join lateral (
        select free_row.*
        from (
            select
                job.startafter,
                job.id,
                job.ctid as place,
                case
                    when %(bytes_max)s::bigint is null then 0
                    when coalesce(pg_column_size(job.data), 0) + coalesce(pg_column_size(job.meta), 0) <= 2000
                        then
                            coalesce(octet_length(job.data::text), 0)
                            + coalesce(octet_length(job.meta::text), 0)
                end as bytes
            from {schema}.job
            where
                job.name = head.name collate "C"
                and job.priority = head.priority
                and job.state < 'active'
                and job.startafter <= coalesce(%(now)s::timestamptz, statement_timestamp())
                and (job.startafter, job.id) >= (head.mark, head.mark_id)
            order by job.startafter, job.id
            limit {limit}
            for update skip locked
        ) as free_row
        limit quota.share -- noqa: AM09
    ) as chosen
),

best as materialized (
    select
        place,
        priority,
        startafter,
        id
    from (
        select
            picked.*,
            row_number() over (partition by pool order by priority desc, startafter asc, id asc) as rank
        from picked
    ) as ranked_again
    where rank <= free
    order by priority desc, startafter asc, id asc
    limit %(limit)s::int
),

fits as materialized (
    select
        %(bytes_max)s::bigint is null
        or (count(picked.bytes) = count(*) and coalesce(sum(picked.bytes), 0) <= %(bytes_max)s::bigint)
            as all_of_them
    from picked
),

ordered as materialized (
    select array_agg(best.place order by best.priority desc, best.startafter asc, best.id asc) as places
    from best
    where not (select fits.all_of_them from fits)
),

sized (number, bytes) as (
    select
        0 as number,
        0::bigint as bytes
    union all
    select
        sized.number + 1,
        sized.bytes + coalesce((
            select coalesce(octet_length(kept.data::text), 0) + coalesce(octet_length(kept.meta::text), 0)
            from {schema}.job as kept
            where kept.ctid = ordered.places[sized.number + 1]
        ), 0)
    from sized
    cross join ordered
    where sized.number < cardinality(ordered.places) and sized.bytes <= %(bytes_max)s::bigint
),

within_budget as materialized (
    select
        ordered.places[:(greatest(counted.number, %(least)s::int))] as places,
        greatest(counted.number, %(least)s::int) < cardinality(ordered.places) as cut
    from ordered
    cross join (
        select max(sized.number) as number
        from sized
        where sized.bytes <= %(bytes_max)s::bigint
    ) as counted
),

claimed as (
    update {schema}.job
    set
        state = 'active',
        attempt = case when attempt < 2147483647 then attempt + 1 else 1 end,
        worker = %(worker)s::uuid,
        startedon = coalesce(%(now)s::timestamptz, statement_timestamp()),
        completedon = null,
        retrycount = retrycount + case when state = 'retry' and retrycount < 2147483647 then 1 else 0 end
    where
        ctid = any(
            case
                when not (select fits.all_of_them from fits) then (select places from within_budget)::tid[]
                when %(reach)s::int > %(limit)s::int then array(select place from best)
                else array(select place from picked)
            end
        )
    returning
        id, name, data, attempt, priority, retrycount, retrylimit, retrydelay, retrybackoff, retrydelaymax,
        extract(epoch from expirein)::float8 as expire_in, startafter, parent, meta
),

told as (
    select pg_notify(%(job_channel)s, claimed.id::text)
    from claimed
    where
        exists (select from {schema}.watcher)
        and exists (
            select from {schema}.watcher as watched
            where
                watched.job_id = claimed.id
                and watched.until > coalesce(%(now)s::timestamptz, statement_timestamp())
        )
)

select
    claimed.*,
    coalesce((select within_budget.cut from within_budget), false) as cut
from claimed
where (select count(*) from told) >= 0
order by priority desc, startafter asc, id asc
