-- Inserts jobs in the order (name, singleton key, position), so that two such statements never deadlock and,
-- of two jobs that exclude each other, the earlier one wins. Returns the ids that were inserted.
with given as (
    select
        job.*,
        coalesce(%(now)s::timestamptz, statement_timestamp()) as now,
        case
            when job.slot_seconds is not null
                then to_timestamp(floor(
                    (
                        extract(epoch from coalesce(%(now)s::timestamptz, statement_timestamp()))
                        + job.slot_offset
                    ) / job.slot_seconds
                ) * job.slot_seconds)
        end as slot
    from unnest(
        %(id)s::uuid[], %(name)s::text[], %(data)s::text[], %(priority)s::int[], %(delay)s::bigint[],
        %(start_at)s::timestamptz[], %(retry_limit)s::int[], %(retry_delay)s::int[],
        %(retry_backoff)s::bool[], %(retry_delay_max)s::int[], %(expire_in)s::bigint[],
        %(singleton_key)s::text[], %(slot_seconds)s::int[], %(slot_offset)s::int[], %(policy)s::text[],
        %(group_key)s::text[], %(parent)s::uuid[], %(meta)s::text[]
    ) with ordinality as job (
        id, name, data, priority, delay, start_at, retry_limit, retry_delay, retry_backoff, retry_delay_max,
        expire_in, singleton_key, slot_seconds, slot_offset, policy, group_key, parent, meta, position
    )
),

inserted as (
    insert into {schema}.job (
        id, name, priority, data, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter,
        singletonkey, singletonon, expirein, createdon, keepuntil, on_complete, attempt, policy, groupkey,
        parent, meta, retrydelaymax
    )
    select
        id,
        name,
        priority,
        data::jsonb,
        'created',
        retry_limit,
        0,
        retry_delay,
        retry_backoff,
        greatest(
            coalesce(start_at, now + delay * interval '1 microsecond'),
            case when slot_offset > 0 then slot end
        ),
        singleton_key,
        slot at time zone 'UTC',
        expire_in * interval '1 microsecond',
        now,
        -- pg-boss 9 archives waiting jobs from this time on; a century in hours, so that no time zone affects
        -- it.
        now + interval '876000 hours',
        false,
        0,
        policy,
        group_key,
        parent,
        meta::jsonb,
        retry_delay_max
    from given
    -- One index search each, for any size of the archive at planning.
    where (select true from {schema}.archive where archive.id = given.id limit 1) is null -- noqa: AM09
    order by name collate "C", coalesce(singleton_key, '') collate "C", position
    on conflict do nothing
    returning id, name, startafter, createdon
),

woken as (
    select pg_notify(%(work_channel)s, due.name)
    from (select distinct name from inserted where startafter <= createdon) as due
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
    (select count(*) from woken) as woken
from inserted
