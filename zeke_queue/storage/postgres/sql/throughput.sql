-- Counts what ended, in spans of time. Planned with the values at hand. What was archived before the first
-- span ended before it, which is how an index narrows the archive down. Instants are put in order before they
-- are subtracted: others may write infinite ones, or clocks have been set.
with ended as (
    select
        state,
        startafter,
        startedon,
        completedon
    from {schema}.job
    where
        state > 'active'
        and completedon >= date_bin(
            %(step)s::bigint * interval '1 second',
            coalesce(%(now)s::timestamptz, statement_timestamp()),
            timestamptz 'epoch'
        ) - %(back)s::bigint * interval '1 second'
        and completedon < date_bin(
            %(step)s::bigint * interval '1 second',
            coalesce(%(now)s::timestamptz, statement_timestamp()),
            timestamptz 'epoch'
        ) + %(step)s::bigint * interval '1 second'
        and (%(names)s::text[] is null or name collate "C" = any(%(names)s::text[]))
    union all
    select
        state,
        startafter,
        startedon,
        completedon
    from {schema}.archive
    where
        state > 'active'
        and archivedon >= date_bin(
            %(step)s::bigint * interval '1 second',
            coalesce(%(now)s::timestamptz, statement_timestamp()),
            timestamptz 'epoch'
        ) - %(back)s::bigint * interval '1 second'
        and completedon >= date_bin(
            %(step)s::bigint * interval '1 second',
            coalesce(%(now)s::timestamptz, statement_timestamp()),
            timestamptz 'epoch'
        ) - %(back)s::bigint * interval '1 second'
        and completedon < date_bin(
            %(step)s::bigint * interval '1 second',
            coalesce(%(now)s::timestamptz, statement_timestamp()),
            timestamptz 'epoch'
        ) + %(step)s::bigint * interval '1 second'
        and (%(names)s::text[] is null or name collate "C" = any(%(names)s::text[]))
),

timed as (
    select
        date_bin(%(step)s::bigint * interval '1 second', completedon, timestamptz 'epoch') as span,
        state,
        startafter,
        completedon,
        case
            when state <> 'cancelled' and startedon is not null
                then least(greatest(startedon, timestamptz '0001-01-01 00:00:00+00'), completedon)
        end as begun
    from ended
),

counted as (
    select
        span,
        count(*) filter (where state = 'completed') as completed,
        count(*) filter (where state in ('failed', 'expired')) as failed,
        count(*) filter (where state = 'cancelled') as cancelled,
        percentile_disc(array[0.5, 0.95]) within group (
            order by begun - least(greatest(startafter, timestamptz '0001-01-01 00:00:00+00'), begun)
        ) as waits,
        percentile_disc(array[0.5, 0.95]) within group (order by completedon - begun) as runs
    from timed
    group by span
)

select
    span.begin,
    coalesce(counted.completed, 0),
    coalesce(counted.failed, 0),
    coalesce(counted.cancelled, 0),
    extract(epoch from counted.waits[1])::float8,
    extract(epoch from counted.waits[2])::float8,
    extract(epoch from counted.runs[1])::float8,
    extract(epoch from counted.runs[2])::float8
from generate_series(
    date_bin(
        %(step)s::bigint * interval '1 second',
        coalesce(%(now)s::timestamptz, statement_timestamp()),
        timestamptz 'epoch'
    ) - %(back)s::bigint * interval '1 second',
    coalesce(%(now)s::timestamptz, statement_timestamp()),
    %(step)s::bigint * interval '1 second'
) as span (begin)
left join counted on span.begin = counted.span
order by span.begin
