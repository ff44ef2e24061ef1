-- Inserts one job: insert.sql for one row, in the form that costs driver and server least. Returns
-- a row if it was inserted.
insert into {schema}.job as job (
    id, name, priority, data, state, retrylimit, retrycount, retrydelay, retrybackoff, startafter,
    singletonkey, singletonon, expirein, createdon, keepuntil, on_complete, attempt, policy, groupkey,
    parent, meta, retrydelaymax
)
select
    %(id)s::uuid,
    %(name)s::text,
    %(priority)s::int,
    %(data)s::jsonb,
    'created',
    %(retry_limit)s::int,
    0,
    %(retry_delay)s::int,
    %(retry_backoff)s::bool,
    greatest(
        coalesce(%(start_at)s::timestamptz, clock.now + %(delay)s::bigint * interval '1 microsecond'),
        case when %(slot_offset)s::int > 0 then slot.start end
    ),
    %(singleton_key)s::text,
    slot.start at time zone 'UTC',
    %(expire_in)s::bigint * interval '1 microsecond',
    clock.now,
    clock.now + interval '876000 hours',
    false,
    0,
    %(policy)s::text,
    %(group_key)s::text,
    %(parent)s::uuid,
    %(meta)s::jsonb,
    %(retry_delay_max)s::int
from (select coalesce(%(now)s::timestamptz, statement_timestamp()) as now) as clock
cross join lateral (
    select
        to_timestamp(
            floor((extract(epoch from clock.now) + %(slot_offset)s::int) / %(slot_seconds)s::int)
            * %(slot_seconds)s::int
        ) as start
) as slot
where
    %(fresh)s::bool
    or not exists (select from {schema}.archive where archive.id = %(id)s::uuid)
on conflict do nothing
returning
    case
        when
            job.startafter <= job.createdon
            and (
                %(always)s::bool
                or exists (
                    select from {schema}.worker
                    where
                        worker.asleep
                        and job.name = any(worker.queues) -- noqa: RF01
                        and worker.beat_on + worker.lease >= job.createdon -- noqa: RF01
                )
            )
            then pg_notify(%(work_channel)s, job.name) is null
    end as woken
