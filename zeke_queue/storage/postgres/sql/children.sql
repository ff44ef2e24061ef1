-- Returns the jobs that wait or run and whose parents, these, wait for them.
select id
from {schema}.job
where parent = any(%(ids)s::uuid[]) and awaited and state < 'completed'
