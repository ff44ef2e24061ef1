-- Lists the queues of the jobs with these ids, archived ones included.
select
    id,
    name
from {schema}.job
where id = any(%(ids)s::uuid[])
union all
select
    id,
    name
from {schema}.archive
where id = any(%(ids)s::uuid[])
