-- Returns the jobs that archive.sql would move.
select id
from {schema}.job
where
    state > 'active'
    and id <> all(%(without)s::uuid[])
    and completedon
    < coalesce(%(now)s::timestamptz, statement_timestamp()) - %(after)s::bigint * interval '1 microsecond'
order by completedon, id
limit %(limit)s::int
