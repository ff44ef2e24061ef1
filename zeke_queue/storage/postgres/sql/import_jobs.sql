-- Inserts jobs of another pg-boss as they are, but those whose id is known; returns the inserted ones.
-- Times are brought into the years that clients can read; an ended job without an end ended now. With an
-- origin, waiting jobs are held: each waits for its own end, until it is released (import_release.sql).
with given as (
    select
        job.*,
        %(origin)s::text is not null and job.state in ('created', 'retry') as held,
        greatest(least(job.start_after, '9998-12-30 00:00:00+00'), '0002-01-02 00:00:00+00') as due
    from unnest(
        %(id)s::uuid[], %(name)s::text[], %(priority)s::int[], %(data)s::text[], %(state)s::text[],
        %(retry_limit)s::int[], %(retry_count)s::int[], %(retry_delay)s::int[], %(retry_backoff)s::bool[],
        %(retry_delay_max)s::int[], %(start_after)s::timestamptz[], %(started_on)s::timestamptz[],
        %(key)s::text[], %(slot)s::timestamp[], %(expire_in)s::interval[], %(created_on)s::timestamptz[],
        %(completed_on)s::timestamptz[], %(keep_until)s::timestamptz[], %(output)s::text[],
        %(attempt)s::int[], %(group_key)s::text[], %(meta)s::text[], %(source_id)s::uuid[]
    ) as job (
        id, name, priority, data, state, retry_limit, retry_count, retry_delay, retry_backoff,
        retry_delay_max, start_after, started_on, key, slot, expire_in, created_on, completed_on, keep_until,
        output, attempt, group_key, meta, source_id
    )
),

inserted as (
    insert into {schema}.job (
        id, name, priority, data, state, retrylimit, retrycount, retrydelay, retrybackoff, retrydelaymax,
        startafter, startedon, singletonkey, singletonon, expirein, createdon, completedon, keepuntil,
        on_complete, output, attempt, groupkey, meta, waitsfor
    )
    select
        id,
        name,
        priority,
        data::jsonb,
        state::{schema}.job_state,
        retry_limit,
        retry_count,
        retry_delay,
        retry_backoff,
        retry_delay_max,
        case
            when held
                then coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '876000 hours'
            else due
        end,
        case
            when started_on is not null
                then greatest(least(started_on, '9998-12-30 00:00:00+00'), '0002-01-02 00:00:00+00')
        end,
        key,
        slot,
        greatest(least(expire_in, interval '876000 hours'), interval '1 millisecond'),
        greatest(least(created_on, '9998-12-30 00:00:00+00'), '0002-01-02 00:00:00+00'),
        case
            when state in ('created', 'retry') then null
            else greatest(
                least(
                    coalesce(completed_on, %(now)s::timestamptz, statement_timestamp()),
                    '9998-12-30 00:00:00+00'
                ),
                '0002-01-02 00:00:00+00'
            )
        end,
        greatest(least(keep_until, '9998-12-30 00:00:00+00'), '0002-01-02 00:00:00+00'),
        false,
        output::jsonb,
        attempt,
        group_key,
        case
            when held
                then
                    coalesce(meta::jsonb, '{}') || jsonb_build_object(
                        'zekeImport',
                        jsonb_build_object('from', %(origin)s::text, 'id', source_id, 'start_after', due)
                    )
            else meta::jsonb
        end,
        case when held then id end
    from given
    where (select true from {schema}.archive where archive.id = given.id limit 1) is null -- noqa: AM09
    order by name collate "C", coalesce(key, '') collate "C", id
    on conflict do nothing
    returning id, name, state
),

woken as (
    select pg_notify(%(work_channel)s, due.name)
    from (select distinct name from inserted where state < 'active' and %(origin)s::text is null) as due
)

select
    id,
    name,
    (select count(*) from woken) as woken
from inserted
