-- Those of these indexes that the job table has.
select found.relname::text
from pg_index
inner join pg_class as found on pg_index.indexrelid = found.oid
inner join pg_class as job on pg_index.indrelid = job.oid and job.relname = 'job'
inner join pg_namespace as space on job.relnamespace = space.oid and space.nspname = %(schema)s
where found.relname = any(%(names)s::text[])
order by found.relname
