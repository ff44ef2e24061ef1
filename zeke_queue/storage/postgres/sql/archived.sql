-- Returns the jobs that purge.sql would delete.
select id
from {schema}.archive
where
    id <> all(%(without)s::uuid[])
    and archivedon
    < coalesce(%(now)s::timestamptz, statement_timestamp()) - %(after)s::bigint * interval '1 microsecond'
order by archivedon, id
limit %(limit)s::int
