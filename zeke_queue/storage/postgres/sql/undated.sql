-- Returns the jobs that date.sql would change.
select id
from {schema}.job
where state > 'active' and id <> all(%(without)s::uuid[]) and completedon is null
union all
select ahead.id
from (
    select id
    from {schema}.job
    where
        state > 'active'
        and id <> all(%(without)s::uuid[])
        and completedon > coalesce(%(now)s::timestamptz, statement_timestamp()) + interval '1 day'
    order by completedon
    limit %(limit)s::int
) as ahead
limit %(limit)s::int -- noqa: AM09
