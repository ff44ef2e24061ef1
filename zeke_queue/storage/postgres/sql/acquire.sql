-- Counts one call, unless its window is full. Concurrent calls wait for the caller's row, and continue
-- its count; their time may then precede the window's beginning, so only its end decides. Other rows are
-- deleted only while this row is locked, without waiting, so that two calls never wait for each other; and
-- only those that ended a while ago, which no call still reads.
with counted as (
    insert into {schema}.rate_limit as known (caller, ends_on, calls, admitted)
    values (
        %(caller)s::text,
        coalesce(%(now)s::timestamptz, statement_timestamp()) + %(length)s::bigint * interval '1 microsecond',
        1,
        true
    )
    on conflict (caller) do update set
    ends_on = case
        when known.ends_on <= coalesce(%(now)s::timestamptz, statement_timestamp()) then excluded.ends_on
        else known.ends_on
    end,
    calls = case
        when known.ends_on <= coalesce(%(now)s::timestamptz, statement_timestamp()) then 1
        when known.calls < %(limit)s::bigint then known.calls + 1
        else known.calls
    end,
    admitted = (
        known.ends_on <= coalesce(%(now)s::timestamptz, statement_timestamp())
        or known.calls < %(limit)s::bigint
    )
    returning admitted, calls, ends_on
),

forgotten as (
    delete from {schema}.rate_limit
    where ctid = any(array(
        select old.ctid
        from {schema}.rate_limit as old
        where
            old.ends_on <= coalesce(%(now)s::timestamptz, statement_timestamp()) - interval '1 minute'
            and old.caller <> %(caller)s::text
            and exists (select from counted)
        order by old.ends_on, old.caller
        limit 10
        for update skip locked
    ))
)

select
    admitted,
    calls,
    extract(epoch from ends_on - coalesce(%(now)s::timestamptz, statement_timestamp()))::float8
from counted
