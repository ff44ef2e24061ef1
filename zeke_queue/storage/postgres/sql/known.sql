-- Returns which of these ids are those of live or archived jobs.
select id
from {schema}.job
where id = any(%(ids)s::uuid[])
union
select id
from {schema}.archive
where id = any(%(ids)s::uuid[])
